"""The reference and the JSON Schema that are written from the code, and the site that is built from the documents."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fastetl.config import build_schema, parse_config
from fastetl.config.toml_tables import Table
from fastetl.errors import ConfigError

ROOT = Path(__file__).parent.parent
EXAMPLES = [*ROOT.glob("examples/*.toml"), ROOT / "src/fastetl/local/demo.toml", ROOT / "packaging/fastetl.toml"]
GIVEN = {"FASTETL_BUCKET": "lake", "FASTETL_LEDGER_TABLE": "ledger", "FASTETL_REDSHIFT_WORKGROUP": "main"}
SMALL = (ROOT / "examples/people.toml").read_text()


@pytest.fixture(scope="module")
def written() -> Any:
    spec = importlib.util.spec_from_file_location("write_reference", ROOT / "docs/write_reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_code_says(written: Any) -> None:
    remedy = "run `make docs`"
    assert (ROOT / "docs/configuration.md").read_text() == written.write_reference(), remedy
    assert (ROOT / "docs/fastetl.schema.json").read_text() == written.write_schema(), remedy


def find_problems(text: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(build_schema())
    return [error.json_path for error in validator.iter_errors(tomllib.loads(text))]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_schema_takes_every_example(path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(build_schema())
    assert find_problems(path.read_text()) == []


@pytest.mark.parametrize(
    ("right", "wrong", "place"),
    [
        ('target = "public.people"', 'target = "people"', "$.pipelines[0].target"),
        ('keys = ["id"]', 'key = ["id"]', "$.pipelines[0]"),
        ("VARCHAR(36)", "MONEY", "$.pipelines[0].columns[0].type"),
        ('name = "people"', "name = 1", "$.pipelines[0].name"),
        ("columns = [", 'undeclared = "drop"\ncolumns = [', "$.pipelines[0].undeclared"),
        ("[[pipelines]]", 'colour = "blue"\n[[pipelines]]', "$"),
    ],
)
def test_what_the_schema_refuses_the_reader_refuses_too(right: str, wrong: str, place: str) -> None:
    text = SMALL.replace(right, wrong)
    assert text != SMALL
    assert place in find_problems(text)
    with pytest.raises(ConfigError):
        parse_config(text, GIVEN)


def find_settings(schema: Any) -> set[str]:
    if not isinstance(schema, dict):
        return {name for each in schema for name in find_settings(each)} if isinstance(schema, list) else set()
    named = set(schema.get("properties", {}))
    return named | {name for each in schema.values() for name in find_settings(each)}


def test_the_schema_has_every_setting_that_the_reader_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: set[str] = set()

    def note(method: Any) -> Any:
        def noted(self: Any, name: str, *arguments: Any) -> Any:
            taken.add(name)
            return method(self, name, *arguments)

        return noted

    for method in ("take", "parse", "table", "tables"):
        monkeypatch.setattr(Table, method, note(getattr(Table, method)))
    parse_config((ROOT / "examples/orders.toml").read_text(), {})
    assert taken <= find_settings(build_schema())
    every = find_settings(build_schema()) - {"description", "default", "type"}
    assert not {name for name in every if not re.search(rf"\b{name}\b", (ROOT / "examples/orders.toml").read_text())}


def test_every_setting_has_a_meaning(written: Any) -> None:
    rows = re.findall(r"^\| `\w+` \| .* \| (.*) \|$", written.write_reference(), re.MULTILINE)
    assert len(rows) > 40
    assert all(rows)


def test_the_site_is_built_from_every_document_without_a_broken_link() -> None:
    done = subprocess.run(["make", "docs"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    site = ROOT / "build/docs/site"
    named = re.findall(r": (\S+\.md)$", (ROOT / "docs/site.yml").read_text(), re.MULTILINE)
    assert {f"docs/{path.name}" for path in ROOT.glob("docs/*.md")} <= set(named)
    for name in named:
        page = "index.html" if name == "README.md" else name.replace("README.md", "index.md").replace(".md", ".html")
        assert (site / page).exists(), name
    assert json.loads((site / "docs/fastetl.schema.json").read_text()) == build_schema()
