"""Every package has one door: its `__init__` says what it is for and exports what others may use."""

from __future__ import annotations

import ast
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
