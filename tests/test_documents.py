"""What documents say that can be checked: links, commands, settings, targets, the example."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from examples.orders import add_weekday

from fastetl.cli import commands
from fastetl.config.model import Config
from fastetl.config.reading import ENVIRONMENT, parse_config
from fastetl.config.toml_tables import Table
from fastetl.decode import Decoder
from fastetl.enrich.enricher import Enricher
from fastetl.lambdas.environment import CONFIG_VARIABLE, TRACING_VARIABLE

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("[!.]*/README.md"), *ROOT.glob("tests/*/*.md")]
)
EXAMPLE = ROOT / "examples" / "orders.toml"


def code_lines(path: Path) -> Iterator[str]:
    for block in re.findall(r"^```\w*\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", path.read_text())


def split_words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # prose with an apostrophe
        return line.split()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text())
    missing = [link for link in links if not link.startswith("http") and not (path.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in code_lines(path):
        words = split_words(line)
        if words[:1] == ["make"] and len(words) > 1:
            assert words[1] in targets, line
        if words and words[0].removeprefix(".venv/bin/") == "fastetl":
            check_command(words[1:], line)


def test_messages_and_docstrings_name_commands_that_exist() -> None:
    for path in sorted((ROOT / "src").rglob("*.py")):
        texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        for line in re.findall(r"`(fastetl [^`]+)`", "\n".join(text for text in texts if isinstance(text, str))):
            words = split_words(" ".join(line.split()))
            if "COMMAND" not in words and "..." not in line:
                check_command(words[1:], f"{path}: {line}", is_whole=False)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_headings_lead_to_one(path: Path) -> None:
    for link, heading in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", path.read_text()):
        target = path.parent / link if link else path
        found = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
        assert heading in {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in found}, (link, heading)


def check_command(words: list[str], line: str, *, is_whole: bool = True) -> None:
    command: Any = commands
    context = click.Context(command)
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        command = command.get_command(context, words.pop(0))
        assert command, line
    known = {option for parameter in command.get_params(context) for option in parameter.opts}
    known |= {option for parameter in command.params for option in parameter.secondary_opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known | {"--help"}, line
    if words and "--help" not in words and is_whole:
        _, unexpected, _ = command.make_parser(context).parse_args(list(words))
        assert not unexpected, line


def test_the_example_has_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: set[str] = set()

    def note(method: Any) -> Any:
        def noted(self: Any, name: str, *arguments: Any) -> Any:
            taken.add(name)
            return method(self, name, *arguments)

        return noted

    for method in ("take", "parse", "table", "tables"):
        monkeypatch.setattr(Table, method, note(getattr(Table, method)))
    read_example()
    text = EXAMPLE.read_text()
    assert not {name for name in taken if not re.search(rf"\b{name}\b", text)}


def read_example() -> Config:
    return parse_config(EXAMPLE.read_text(), {})


def test_the_smallest_example_is_complete() -> None:
    text = (EXAMPLE.parent / "people.toml").read_text()
    given = {"FASTETL_BUCKET": "lake", "FASTETL_LEDGER_TABLE": "ledger", "FASTETL_REDSHIFT_WORKGROUP": "main"}
    (pipeline,) = parse_config(text, given).pipelines
    assert (pipeline.table, [column.name for column in pipeline.columns]) == ("people", ["id", "name", "born"])


def test_the_examples_enrichments_work() -> None:
    Enricher(read_example().pipelines[0], {"ORDERS_HASH_KEY": "0123456789abcdef"})
    assert add_weekday.__doc__


def test_the_sample_event_fits_the_smallest_example() -> None:
    event = (EXAMPLE.parent / "event.json").read_bytes()
    given = {"FASTETL_BUCKET": "lake", "FASTETL_LEDGER_TABLE": "ledger", "FASTETL_REDSHIFT_WORKGROUP": "main"}
    (pipeline,) = parse_config((EXAMPLE.parent / "people.toml").read_text(), given).pipelines
    changes = Decoder(pipeline).decode(event)
    assert (changes.frame.height, [reject.reason for reject in changes.rejects]) == (3, ["format"])


def test_operations_name_every_variable() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    variables = {*ENVIRONMENT.values(), CONFIG_VARIABLE, TRACING_VARIABLE}
    assert not {name for name in variables if f"`{name}`" not in text}
