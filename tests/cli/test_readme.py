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


class Local:
    """The stack of the first two lines, and what they lead to."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder = process, folder
        self.environment = exported(process)

    def follow(self, words: list[str]) -> str:
        """Do what one line says; give what it prints."""
        if words[:4] == PUT_ITEM:
            table, option, item = words[4:]
            assert option == "--item"
            boto3.client("dynamodb", **sdk(self.environment)).put_item(TableName=table, Item=json.loads(item))
            return ""
        assert words[:1] == FASTETL, words
        done = run(*words[1:], cwd=self._folder, **self.environment)
        # `schema diff` ends with 1 where there is something to mend.
        assert done.returncode == int(words[1:3] == ["schema", "diff"]), done.stderr
        return done.stdout

    def wait_for(self, rows: list[dict[str, Any]], query: list[str]) -> None:
        deadline = time.monotonic() + 60
        while (found := sorted(json.loads(self.follow([*query, "--json"])), key=lambda row: str(row["id"]))) != rows:
            assert time.monotonic() < deadline, found

    def wait_for_the_changed_configuration(self) -> None:
        assert self._process.stderr
        while "go on with the changed configuration" not in (line := self._process.stderr.readline()):
            assert line, "it has ended"


@pytest.fixture
def local(folder: Path) -> Iterator[Local]:
    """The first two lines: a configuration, and a stack that runs until the end."""
    copy, start = BLOCKS[0][:2]
    assert start[:2] == [*FASTETL, "local"]
    subprocess.run(copy, check=True, cwd=folder)
    ports = ["--aws-port", str(free_port()), "--data-api-port", str(free_port())]
    command = [Path(sys.executable).with_name("fastetl"), *start[1:], *ports]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, cwd=folder) as process:
        yield Local(process, folder)
        process.send_signal(signal.SIGINT)
    assert process.returncode == 0


def test_a_newcomer_sees_an_item_arrive_and_a_column_filled(folder: Path, local: Local) -> None:
    _, _, put, load, select, diff = BLOCKS[0]
    local.follow(put)
    local.follow(load)
    local.wait_for([{"id": "1", "name": "Ada"}], select)
    column = re.search(r"`(\{ name = .* \},?)`", SECTION)[1]
    proposed = tomllib.loads(local.follow(diff))["pipelines"]["columns"]
    assert tomllib.loads(f"columns = [{column}]")["columns"] == proposed

    path = folder / "fastetl.toml"
    path.write_text(path.read_text().replace("columns = [", f"columns = [\n  {column}"))
    local.wait_for_the_changed_configuration()
    diff, alter, ddl, put, load, select = BLOCKS[1]
    assert local.follow(diff).strip() == f"{alter[-1]};"
    for line in (alter, ddl, put, load):
        local.follow(line)
    rows = [{"id": "1", "name": "Ada", "died": None}, {"id": "2", "name": "Mary", "died": "1872-11-29"}]
    local.wait_for(rows, select)
    wide = "select id, died, _version from public.people_current"
    narrow = run("local", "sql", wide, cwd=folder, COLUMNS="40", **local.environment).stdout
    assert ("row 2" in narrow, "│ died" in narrow) == (True, True)
