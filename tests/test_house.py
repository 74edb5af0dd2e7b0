"""Every package has one door: its `__init__` says what it is for and exports what others may use."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src/fastetl"
PACKAGES = (
    "aws", "backfill", "columns", "config", "decode", "enrich", "ingest", "load", "local.functions", "local.warehouse",
    "operate", "sql", "tune",
)  # fmt: skip


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports names from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_entered_by_its_door(package: str) -> None:
    folder = SOURCE / package.replace(".", "/")
    modules = {f"fastetl.{package}.{path.stem}" for path in folder.glob("*.py")}
    outside = [path for path in SOURCE.rglob("*.py") if folder not in path.parents]
    around = {str(path.relative_to(SOURCE)): modules & set(imports(path)) for path in outside}
    assert {path: found for path, found in around.items() if found} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_door_says_what_it_is_for_and_exports_what_it_has(package: str) -> None:
    tree = ast.parse((SOURCE / package.replace(".", "/") / "__init__.py").read_text())
    assert (ast.get_docstring(tree) or "").endswith(".")
    imported = {name.name for node in tree.body if isinstance(node, ast.ImportFrom) for name in node.names}
    exported = next(node.value for node in tree.body if isinstance(node, ast.Assign))
    assert set(ast.literal_eval(exported)) == imported - {"annotations"}


def test_the_contract_on_sdks_covers_every_package() -> None:
    contracts = tomllib.loads((SOURCE.parent.parent / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    (contract,) = [each for each in contracts if each["name"] == "Only aws/ imports an SDK"]
    rooms = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    covered = {name.removeprefix("fastetl.") for name in contract["source_modules"]}
    assert covered == rooms - {"__init__", "aws", "local"}


IMPORT = """
import csv, gc, importlib, os, pkgutil, signal, socket, sys
variables, path = dict(os.environ), list(sys.path)
state = lambda: (csv.field_size_limit(), gc.isenabled(), gc.get_freeze_count(), signal.getsignal(signal.SIGINT))
before = state()
import fastetl
handlers = {f"fastetl.lambdas.{name}" for name in ("ingest", "coordinator", "backfill")}
for module in pkgutil.walk_packages(fastetl.__path__, "fastetl."):
    if module.name not in handlers and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
changed = {name for name in {*os.environ, *variables} if os.environ.get(name) != variables.get(name)}
# Polars sets up its own allocator.
assert changed <= {"_RJEM_MALLOC_CONF"}, changed
assert (state(), sys.path) == (before, path)
"""


def test_no_import_has_a_side_effect() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("POLARS_", "AWS_"))}
    done = subprocess.run([sys.executable, "-c", IMPORT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(("memory", "threads"), [("512", 1), ("1769", 1), ("3538", 2), ("10240", 5), (None, 1)])
def test_a_function_has_a_thread_for_each_processor_that_its_memory_buys(memory: str | None, threads: int) -> None:
    code = (
        "import fastetl.lambdas.environment as e, os; e.limit_threads();"
        "import polars; print(polars.thread_pool_size(), os.environ['POLARS_MAX_THREADS'])"
    )
    size = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": memory} if memory else {}
    environment = {name: value for name, value in os.environ.items() if name != "POLARS_MAX_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment, **size}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(threads), str(threads)]
