"""Every package has one door: its `__init__` says what it is for and exports what others may use."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

SOURCE = Path(__file__).parent.parent / "src/fastetl"
PACKAGES = (
    "aws", "aws.ledger", "backfill", "columns", "config", "decode", "enrich", "ingest", "load", "local.functions",
    "local.warehouse", "operate", "sql", "tune",
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


def exported_functions(package: str) -> Iterator[tuple[str, Any, str]]:
    """Every function that a door exports, and every public method of its classes; with the class's docstring."""
    door = importlib.import_module(f"fastetl.{package}")
    for name in door.__all__:
        thing = getattr(door, name)
        if inspect.isfunction(thing):
            yield name, thing, ""
        if not inspect.isclass(thing):
            continue
        for of_it, member in vars(thing).items():
            function = getattr(member, "__func__", member)
            is_made = of_it == "__init__" and (
                issubclass(thing, msgspec.Struct) or getattr(thing, "_is_protocol", False)
            )
            if inspect.isfunction(function) and not is_made and (of_it == "__init__" or not of_it.startswith("_")):
                yield f"{name}.{of_it}", function, inspect.getdoc(thing) or ""


def raised_by(function: Any) -> set[str]:
    """The classes of the errors that a function's own lines raise."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    called = [error.func for error in raised if isinstance(error, ast.Call)]
    names = {name.id for name in called if isinstance(name, ast.Name) and name.id.endswith("Error")}
    return names - {"AssertionError", "RuntimeError"}  # these are defects of the caller


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_door_exports_says_what_it_takes_gives_and_raises(package: str) -> None:
    problems = []
    for name, function, of_class in exported_functions(package):
        text = inspect.getdoc(function) if function.__doc__ else ""
        first = (text or "").partition("\n\n")[0]
        if not re.fullmatch(r"[A-Z][^\n]*[.]", first):
            problems.append(f"{name}: its docstring begins with no sentence in one line: {first!r}")
        signature = inspect.signature(function)
        taken = [each for each in signature.parameters if each not in {"self", "cls"} and not each.startswith("_")]
        described = (text or "").partition("Args:\n")[2]
        problems += [
            f"{name}: no {each}" for each in taken if not re.search(rf"^ +{each}: \S", described, re.MULTILINE)
        ]
        gives = str(signature.return_annotation)
        if re.match(r"(tuple\[(?!.*\.\.\.)|dict\[|pl\.)", gives) and taken and "Returns:" not in (text or ""):
            problems.append(f"{name}: no Returns for {gives}")
        said = (text or "").partition("Raises:")[2] + of_class
        problems += [f"{name}: no {each}" for each in sorted(raised_by(function)) if each not in said]
    assert problems == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_class_that_a_door_exports_says_what_it_is(package: str) -> None:
    door = importlib.import_module(f"fastetl.{package}")
    classes = [(name, thing) for name in door.__all__ if inspect.isclass(thing := getattr(door, name))]
    assert [
        name for name, thing in classes if not (thing.__doc__ or "").partition("\n\n")[0].strip().endswith(".")
    ] == []


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
