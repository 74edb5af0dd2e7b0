"""README's "Try it", line by line, as a newcomer would: in one terminal."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.cli.in_process import call
from tests.cli.test_cli import free_port, run, sdk
from tests.cli.test_local import Background

ROOT = Path(__file__).parent.parent.parent
SECTION = (ROOT / "README.md").read_text().partition("## Try it")[2].partition("\n## ")[0]
BLOCKS = [
    [shlex.split(line, comments=True) for line in block.splitlines()]
    for block in re.findall(r"^```\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)
]
FASTETL, PUT_ITEM = ".venv/bin/fastetl", ["aws", "dynamodb", "put-item", "--table-name"]


class Newcomer:
    """Does what the lines say, in a folder and at ports that are free."""

    def __init__(self, folder: Path) -> None:
        (folder / "examples").symlink_to(ROOT / "examples")
        self.folder = folder
        self._port, self._data_api_port = str(free_port()), str(free_port())
        self._environment: dict[str, str] = {}

    def follow(self, words: list[str]) -> str:
        """Do what one line says; give what it prints."""
        if words[:1] == ["cp"]:
            subprocess.run(words, check=True, cwd=self.folder)
            return ""
        if words[:4] == PUT_ITEM:
            table, option, item = words[4:]
            assert option == "--item"
            boto3.client("dynamodb", **sdk(self._environment)).put_item(TableName=table, Item=json.loads(item))
            return ""
        if words[:1] == ["eval"]:
            printed = self.follow(shlex.split(words[1].removeprefix("$(").removesuffix(")")))
            lines = [shlex.split(line) for line in printed.splitlines()]
            self._environment = dict(line[1].split("=", 1) for line in lines)
            return ""
        assert words[0] == FASTETL, words
        more = ["--aws-port", self._port] * (words[1:3] in (["local", "env"], ["local", "stop"], ["local", "--detach"]))
        more += ["--data-api-port", self._data_api_port] * (words[1:3] == ["local", "--detach"])
        done = run(*words[1:], *more, cwd=self.folder, **self._environment)
        # `schema diff` ends with 1 where there is something to mend: an ignored attribute was seen lately.
        assert done.returncode == int(words[1:3] == ["schema", "diff"]), done.stderr
        return done.stdout

    def wait_for(self, rows: list[Any], query: list[str]) -> None:
        deadline = time.monotonic() + 200
        while (found := self._ask(query)) != rows:
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        self.follow(query)

    def _ask(self, query: list[str]) -> list[Any]:
        done = call(*query[1:], "--json", cwd=self.folder, **self._environment)
        return sorted(json.loads(done.stdout or "[]"), key=lambda row: str(row["id"]))

    def narrow(self, query: str) -> str:
        return call("local", "sql", query, cwd=self.folder, **{**self._environment, "COLUMNS": "40"}).stdout

    def stop(self) -> None:
        call("local", "stop", "--aws-port", self._port)

    def wait_for_the_changed_configuration(self) -> None:
        background = Background(self.folder)
        background.aws_port = self._port
        background.wait_for_log("go on with the changed configuration")


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    made = Newcomer(tmp_path)
    yield made
    made.stop()


def test_a_newcomer_sees_an_item_arrive_and_a_column_filled(newcomer: Newcomer) -> None:
    *lines, select, diff = BLOCKS[0]
    for line in lines:
        newcomer.follow(line)
    newcomer.wait_for([{"id": "1", "name": "Ada"}], select)
    column = re.search(r"`(\{ name = .* \},?)`", SECTION)[1]
    pasted = newcomer.follow(diff)  # a comment says why; the line itself is as README shows it
    assert re.fullmatch(r"# .+\n" + re.escape(column) + "\n", pasted)

    path = newcomer.folder / "fastetl.toml"
    path.write_text(path.read_text().replace("columns = [", f"columns = [\n{pasted}"))
    newcomer.wait_for_the_changed_configuration()
    *lines, select, stop = BLOCKS[1]
    for line in lines:
        newcomer.follow(line)
    rows = [{"id": "1", "name": "Ada", "died": None}, {"id": "2", "name": "Mary", "died": "1872-11-29"}]
    newcomer.wait_for(rows, select)
    narrow = newcomer.narrow("select id, died, _version from public.people_current")
    assert ("row 2" in narrow, "│ died" in narrow) == (True, True)
    newcomer.follow(stop)
