"""Try a sample of wrong changes of the code, each against the tests that reach its lines.

    python -m tests.mutation --seed 1 --sample 60 --jobs 1 load sql ...

Everything happens in copies of the checkout. First a package's tests run once with coverage's contexts, which tell the
tests that reach each line. Then each mutant is written into a copy, and a forked process, which has the large libraries
loaded already, runs the tests that reach its lines, the quickest first, until one fails. A mutant that hangs counts as
found. What was tried, and which tests reach which lines, stays in build/mutation/: a run that is started again goes on
from there.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.mutation.mutants import Mutant, find_mutants
from tests.mutation.report import write_report

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build/mutation"
TESTS = {
    "load": ("load", "operate/test_reconcile.py", "simulation/test_second_lines.py", "mutation/simulate_some.py"),
    "sql": ("sql", "load", "operate/test_reload.py", "local/warehouse/test_deletes.py", "backfill"),
    "aws": ("aws", "load/test_loader.py", "operate", "ingest", "cli/test_refusals.py"),
    "aws/ledger": ("aws/ledger", "load", "operate/test_operator.py", "ingest", "simulation/test_second_lines.py"),
    "ingest": ("ingest", "operate/test_reconcile.py", "backfill", "lambdas/test_raw_events.py"),
    "decode": ("decode", "ingest"),
    "columns": ("columns", "decode", "enrich"),
    "operate": ("operate",),
}
"""The tests of each package, and others that use it closely; none that starts processes, which takes longer than it
finds."""
PRELOADED = ("aioboto3", "boto3", "duckdb", "hypothesis", "moto.server", "orjson", "polars", "pytest", "sqlglot")
OPTIONS = (
    "-q",
    "-x",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:randomly",
    "--hypothesis-seed=0",
    "--no-header",
    "--tb=no",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)
TESTS_LIMIT_SECONDS = 60.0
"""The quickest tests that reach a line are run, up to this sum."""
TEST_LIMIT_SECONDS = 15.0
CONTROLS = 5
"""Tried first, without their change: their tests have to pass, or what follows means nothing."""
PATIENCE = 6.0
"""A mutant whose tests take this many times longer than without it is taken for one that hangs."""


def _make_copy(name: str) -> Path:
    """Copy the checkout, without what is installed or built, into a folder of the build."""
    copy = BUILD / name
    shutil.rmtree(copy, ignore_errors=True)
    ignored = shutil.ignore_patterns(".git", ".venv*", "build", "dist", ".mypy_cache", ".hypothesis", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=ignored)
    return copy


def _record(copy: Path, folders: tuple[str, ...]) -> dict[str, Any]:
    """Find the tests that reach each line, and the seconds of each; what was found of the same files is read again."""
    files = [path for folder in ("src", "tests") for path in sorted((copy / folder).rglob("*.py"))]
    digest = hashlib.blake2b("\n".join(folders).encode(), digest_size=12)
    for path in files:
        digest.update(path.read_bytes())
    kept = BUILD / f"reached-{digest.hexdigest()}.json"
    if not kept.exists():
        kept.write_text(json.dumps(_run_all(copy, folders)))
    record: dict[str, Any] = json.loads(kept.read_text())
    return record


def _run_all(copy: Path, folders: tuple[str, ...]) -> dict[str, Any]:
    """Run every test once without mutants, with coverage's contexts."""
    times, data = copy / "times.json", copy / ".coverage"
    code = (
        f"import sys, pytest, tests.mutation.times as t; pytest.main(sys.argv[1:], plugins=[t.Times({str(times)!r})])"
    )
    options = (
        "-q",
        "-p",
        "no:cacheprovider",
        "--hypothesis-seed=0",
        "--cov=fastetl",
        "--cov-context=test",
        "--cov-report=",
    )
    environment = os.environ | {"PYTHONPATH": f"{copy / 'src'}:{copy}", "COVERAGE_FILE": str(data)}
    command = [sys.executable, "-c", code, *options, *(f"tests/{folder}" for folder in folders)]
    subprocess.run(command, cwd=copy, env=environment, check=True)
    coverage = importlib.import_module("coverage").CoverageData(str(data))
    coverage.read()
    reached: dict[str, dict[str, list[str]]] = {}
    seconds = json.loads(times.read_text())
    for path in coverage.measured_files():
        lines = coverage.contexts_by_lineno(path)
        tests = {str(line): sorted({each.partition("|")[0] for each in lines[line]} & seconds.keys()) for line in lines}
        tests["module"] = sorted({test for each in tests.values() for test in each})
        reached[str(Path(path).relative_to(copy))] = tests
    return {"reached": reached, "seconds": seconds}


def select_tests(mutant: Mutant, record: dict[str, Any]) -> list[str]:
    """Select the tests that reach a mutant's lines: the quickest, as many as there is time for.

    Args:
        mutant: The mutant. What a module's own lines make (tables, constants) may be read by tests that run no line of
            the module: those come after the tests that do.
        record: What `_record` gives.

    Returns:
        The ids of the tests, the nearest and quickest first.
    """
    reached, seconds = record["reached"].get(mutant.path, {}), record["seconds"]
    near = {test for line in mutant.lines for test in reached.get(str(line), ())}
    tests = near
    if mutant.place == "module" or (not near and any(str(line) in reached for line in mutant.lines)):
        near = near or set(reached.get("module", ()))
        tests = set(seconds)
    chosen, total = list[str](), 0.0
    for test in sorted(tests, key=lambda test: (test not in near, seconds.get(test, 0.0), test)):
        total += seconds.get(test, 0.0)
        if seconds.get(test, 0.0) > TEST_LIMIT_SECONDS or total > TESTS_LIMIT_SECONDS:
            break
        chosen.append(test)
    return chosen


def _run(copy: Path, mutant: Mutant, tests: list[str]) -> int:
    """Fork a process that runs tests with a mutant in a copy, and give its id."""
    changed = copy / mutant.path
    os.utime(_write(changed, mutant.source), (1, 1))  # no compiled module is of that time
    if child := os.fork():
        return child
    try:
        os.setsid()
        output = os.open(copy / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(copy)
        sys.dont_write_bytecode = True
        sys.path[:] = [
            str(copy / "src"),
            str(copy),
            *(each for each in sys.path if Path(each or ".").resolve() != ROOT),
        ]
        os.environ["PYTHONPATH"] = f"{copy / 'src'}:{copy}"
        for name in [name for name in sys.modules if name.partition(".")[0] in {"tests", "fastetl"}]:
            del sys.modules[name]
        import pytest  # noqa: PLC0415

        code = int(pytest.main([*OPTIONS, *tests]))
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _try_all(
    mutants: list[Mutant], record: dict[str, Any], original: Path, copies: list[Path]
) -> Iterator[tuple[Mutant, str]]:
    """Try mutants side by side, one in each copy; give each with how it ended."""
    waiting, free, running = list(reversed(mutants)), list(copies), dict[int, tuple[Mutant, Path, float]]()
    while waiting or running:
        while waiting and free:
            mutant = waiting.pop()
            tests = select_tests(mutant, record)
            if not tests:
                yield mutant, "not reached"
                continue
            limit = 60 + PATIENCE * sum(record["seconds"].get(test, 0.0) for test in tests)
            copy = free.pop()
            running[_run(copy, mutant, tests)] = (mutant, copy, time.monotonic() + limit)
        time.sleep(0.02)
        for child, (mutant, copy, end) in list(running.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            if late := not ended and time.monotonic() > end:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
            if ended or late:
                del running[child]
                shutil.copy2(original / mutant.path, copy / mutant.path)
                free.append(copy)
                yield mutant, "time-out" if late else "survived" if status == 0 else "killed"


def main() -> None:
    """Try mutants, and write what was found into the README."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("packages", nargs="*", default=list(TESTS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=int, default=60, help="mutants of each package")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="try what survived, with the tests as they are now")
    options = parser.parse_args()
    for name in PRELOADED:
        importlib.import_module(name)
    original, *copies = [_make_copy(f"copy-{os.getpid()}-{number}") for number in range(options.jobs + 1)]
    found: dict[str, dict[str, str]] = defaultdict(dict)
    kept = BUILD / f"seed-{options.seed}.jsonl"
    for line in kept.read_text().splitlines() if kept.exists() else ():
        package, name, end = json.loads(line)
        found[package][name] = end
    for package in options.packages:
        record = _record(copies[0], TESTS[package])
        modules = sorted((original / "src/fastetl" / package).glob("*.py"))
        every = [each for path in modules for each in find_mutants(str(path.relative_to(original)), path.read_text())]
        sample = random.Random(options.seed).sample(every, min(options.sample, len(every)))
        done = {name for name, end in found[package].items() if not options.again or end in {"killed", "time-out"}}
        found[package] = {name: end for name, end in found[package].items() if name in {each.name for each in sample}}
        rest = [each for each in sample if each.name not in done]
        controls = [each._replace(source=(original / each.path).read_text()) for each in rest[:CONTROLS]]
        ends = [end for _, end in _try_all(controls, record, original, copies)]
        if {"killed", "time-out"} & set(ends):
            raise SystemExit(f"{package}: tests fail without a mutant; see {copies[0] / 'output.txt'}")
        for mutant, end in _try_all(rest, record, original, copies):
            found[package][mutant.name] = end
            with kept.open("a") as file:
                file.write(json.dumps([package, mutant.name, end]) + "\n")
            if end not in {"killed", "time-out"}:
                print(f"{end}: {mutant.name}", flush=True)  # noqa: T201
        write_report(options.seed, package, len(every), found[package])
    for copy in (original, *copies):
        shutil.rmtree(copy)


if __name__ == "__main__":
    main()
