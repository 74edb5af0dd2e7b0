"""README's "Try it", line by line, as a newcomer would."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.cli.test_cli import exported, free_port, run, sdk

ROOT = Path(__file__).parent.parent.parent
SECTION = (ROOT / "README.md").read_text().partition("## Try it")[2].partition("\n## ")[0]
BLOCKS = [
    [shlex.split(line, comments=True) for line in block.splitlines()]
    for block in re.findall(r"^```\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)
]
FASTETL, PUT_ITEM = [".venv/bin/fastetl"], ["aws", "dynamodb", "put-item", "--table-name"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


@pytest.fixture
def environment(folder: Path) -> Iterator[dict[str, str]]:
    """The first two lines: a configuration, and a stack that runs until the end."""
    copy, start = BLOCKS[0][:2]
    assert start[:2] == [*FASTETL, "local"]
    subprocess.run(copy, check=True, cwd=folder)
    ports = ["--aws-port", str(free_port()), "--data-api-port", str(free_port())]
    command = [Path(sys.executable).with_name("fastetl"), *start[1:], *ports]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        yield exported(process)
        process.send_signal(signal.SIGINT)
    assert process.returncode == 0


def follow(words: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Do what one line says; give what it prints."""
    if words[:4] == PUT_ITEM:
        table, option, item = words[4:]
        assert option == "--item"
        boto3.client("dynamodb", **sdk(environment)).put_item(TableName=table, Item=json.loads(item))
        return ""
    assert words[:1] == FASTETL, words
    done = run(*words[1:], cwd=folder, **environment)
    # `schema diff` ends with 1 where there is something to mend.
    assert done.returncode == int(words[1:3] == ["schema", "diff"]), done.stderr
    return done.stdout


def wait_for(rows: list[dict[str, Any]], query: list[str], folder: Path, environment: dict[str, str]) -> None:
    deadline = time.monotonic() + 60
    while (
        sorted(found := json.loads(follow([*query, "--json"], folder, environment)), key=lambda row: row["id"]) != rows
    ):
        assert time.monotonic() < deadline, found


def test_a_newcomer_sees_an_item_arrive_and_a_column_filled(folder: Path, environment: dict[str, str]) -> None:
    _, _, put, load, select, diff = BLOCKS[0]
    follow(put, folder, environment)
    follow(load, folder, environment)
    wait_for([{"id": "1", "name": "Ada"}], select, folder, environment)
    column = re.search(r"`(\{ name = .* \},)`", SECTION)[1]  # type: ignore[index]
    proposed = tomllib.loads(follow(diff, folder, environment))["pipelines"]["columns"]
    assert tomllib.loads(f"columns = [{column}]")["columns"] == proposed

    path = folder / "fastetl.toml"
    path.write_text(path.read_text().replace("columns = [", f"columns = [\n  {column}"))
    diff, alter, ddl, put, load, select = BLOCKS[1]
    assert follow(diff, folder, environment).strip() == f"{alter[-1]};"
    follow(alter, folder, environment)
    follow(ddl, folder, environment)
    follow(put, folder, environment)
    follow(load, folder, environment)
    rows = [{"id": "1", "name": "Ada", "died": None}, {"id": "2", "name": "Mary", "died": "1872-11-29"}]
    wait_for(rows, select, folder, environment)
