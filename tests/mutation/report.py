"""Write what a run of mutants found into the README: a rate for each package, and every survivor with its reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent
RATES = FOLDER / "rates.json"
REASONS = FOLDER / "reasons.json"
README = FOLDER / "README.md"
BEGIN = "<!-- written by `make mutate` -->\n"
GOALS = {"load": 95, "sql": 95, "aws": 90, "aws/ledger": 95, "ingest": 90, "decode": 90, "columns": 90, "operate": 90}
FOUND = {"killed", "time-out"}


def write_report(seed: int, package: str, mutants: int, ends: Mapping[str, str]) -> None:
    """Put a package's result beside those of the others, and write all of them into the README.

    Args:
        seed: that drew the sample.
        package: of `fastetl`.
        mutants: that the package has in all.
        ends: how each mutant of the sample ended, by its name.
    """
    rates = json.loads(RATES.read_text()) if RATES.exists() else {}
    survivors = {name: end for name, end in sorted(ends.items()) if end not in FOUND}
    rates[package] = {"seed": seed, "mutants": mutants, "tried": len(ends), "survivors": survivors}
    RATES.write_text(json.dumps(rates, indent=1, sort_keys=True) + "\n")
    before = README.read_text().partition(BEGIN)[0]
    reasons = json.loads(REASONS.read_text()) if REASONS.exists() else {}
    README.write_text(before + BEGIN + describe(rates, reasons))


def describe(rates: Mapping[str, Mapping[str, object]], reasons: Mapping[str, str]) -> str:
    """Describe the results as Markdown.

    Args:
        rates: by package, as `write_report` keeps them.
        reasons: why a survivor is let live, by its name.
    """
    lines = ["", "| package | mutants | tried (seed) | found | rate | goal |", "|---|---|---|---|---|---|"]
    told = sorted(GOALS.keys() & rates.keys())
    for package in told:
        rate = rates[package]
        survivors, tried = rate["survivors"], rate["tried"]
        assert isinstance(survivors, dict)
        assert isinstance(tried, int)
        found = tried - len(survivors)
        share = f"{100 * found / max(1, tried):.0f} %"
        seed = rate["seed"]
        lines.append(f"| {package} | {rate['mutants']} | {tried} ({seed}) | {found} | {share} | {GOALS[package]} % |")
    lines += ["", "Survivors:", ""]
    for package in told:
        survivors = rates[package]["survivors"]
        assert isinstance(survivors, dict)
        for name, end in survivors.items():
            lines.append(f"- `{name.replace('`', chr(39))}` ({end}): {reasons.get(name, 'wants a test')}")
    return "\n".join(lines) + "\n"
