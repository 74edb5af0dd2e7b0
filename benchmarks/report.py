"""Write the tables of benchmarks/README.md from what pytest-benchmark measured: `report.py results.json README.md`."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from benchmarks.candidates import FASTETL, FLOOR, PEERS

BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"


def main(results: Path, readme: Path) -> None:
    """Replace what stands between the markers."""
    measured = orjson.loads(results.read_bytes())
    text = readme.read_text()
    head, _, tail = text.partition(BEGIN)
    tail = tail.partition(END)[2]
    readme.write_text(f"{head}{BEGIN}\n\n{build_tables(measured)}\n{END}{tail}")


def build_tables(measured: dict[str, Any]) -> str:
    """Build the tables: CPU milliseconds, and how many times as long as fastetl's raw path."""
    seconds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for benchmark in measured["benchmarks"]:
        parameters = benchmark["params"]
        if "candidate" in parameters:
            seconds[parameters["name"]][parameters["candidate"]].append(benchmark["stats"]["median"])
    lines = [describe_machine(measured), ""]
    shapes = list(seconds)
    lines.append(f"| median CPU ms of one event | {' | '.join(shapes)} |")
    lines.append(f"|---|{'---:|' * len(shapes)}")
    for candidate in (*PEERS, *FASTETL, FLOOR):
        name = PEERS[candidate].name if candidate in PEERS else f"fastetl, {candidate}"
        cells = [write_cell(seconds[shape], candidate) for shape in shapes]
        lines.append(f"| {name if candidate != FLOOR else 'floor'} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *build_geoip_table(measured)]) + "\n"


def build_geoip_table(measured: dict[str, Any]) -> list[str]:
    """Build the table of Geo-IP: CPU milliseconds, and how much of the decoding that is."""
    seconds: dict[str, list[float]] = defaultdict(list)
    records = 0
    for benchmark in measured["benchmarks"]:
        if "way" in benchmark["params"]:
            seconds[benchmark["params"]["way"]].append(benchmark["stats"]["median"])
            records = benchmark["extra_info"]["records"]
    if not seconds:
        return []
    decoding = median(seconds["decoding the event"])
    lines = [
        f"| Geo-IP: country and city of {records:,} different addresses | median CPU ms | of decoding |",
        "|---|---:|---:|",
    ]
    for way, taken in seconds.items():
        lines.append(f"| {way} | {median(taken) * 1000:,.1f} | {median(taken) / decoding:.2f} |")
    return lines


def write_cell(shape: dict[str, list[float]], candidate: str) -> str:
    """Write one median, and its ratio to the raw path's."""
    if candidate not in shape:
        return "-"
    taken, ours = median(shape[candidate]), median(shape["raw path"])
    return f"{taken * 1000:,.1f}" + (f" ({taken / ours:.1f}x)" if candidate != "raw path" else "")


def describe_machine(measured: dict[str, Any]) -> str:
    """Say when, on what and with which versions."""
    machine = measured["machine_info"]
    packages = ", ".join(f"{name} {version}" for name, version in sorted(machine["packages"].items()))
    processor = re.sub(r"\s+", " ", machine["cpu"].get("brand_raw", machine["machine"]))
    day = measured["datetime"][:10]
    return f"{day}, {processor}, Python {machine['python_version']}, one core. {packages}."


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
