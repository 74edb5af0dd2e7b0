"""`fastetl local` as a person lives with it: in the background, with a log for people, and ended politely."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.cli.in_process import Done, call
from tests.cli.test_cli import CONFIG, free_port, run, sdk

MINE = """
def add(frame):
    return helper(frame)

def helper(frame):
    raise ValueError("a sec" + "ret of an item")
"""
ENRICHED = CONFIG.replace(
    "[pipelines.load]",
    '[[pipelines.enrichments]]\nkind = "function"\nfunction = "mine:add"\ninputs = ["note"]\n'
    'outputs = [{ name = "meaning", type = "VARCHAR(20)" }]\n[pipelines.load]',
)
MASKED = CONFIG.replace(
    "[pipelines.load]",
    '[[pipelines.enrichments]]\nkind = "mask"\nmethod = "hash"\nkey_variable = "NOTE_KEY"\n'
    'outputs = [{ name = "note", type = "CHAR(64)" }]\n[pipelines.load]',
)
SECOND = """
[[pipelines]]
name = "people"
table = "people"
keys = ["id"]
target = "public.people"
columns = [{ name = "id", type = "VARCHAR(36)" }]
[pipelines.load]
max_age = "1s"
"""


class Background:
    """A `fastetl local --detach` in a folder, with ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.aws_port, self.data_api_port = folder, str(free_port()), str(free_port())
        self.environment: dict[str, str] = {}

    def start(self, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        ports = ("--aws-port", self.aws_port, "--data-api-port", self.data_api_port)
        done = run("local", *ports, *options, "--detach", cwd=self.folder, **variables)
        if done.returncode == 0:
            printed = call("local", "env", "--aws-port", self.aws_port).stdout
            words = [shlex.split(line) for line in printed.splitlines()]
            self.environment = dict(word[1].split("=", 1) for word in words)
        return done

    def put(self, table: str, item: dict[str, Any]) -> None:
        boto3.client("dynamodb", **sdk(self.environment)).put_item(TableName=table, Item=item)

    def wait_for(self, query: str, rows: list[Any]) -> None:
        deadline = time.monotonic() + 200
        while json.loads((done := call("local", "sql", query, "--json", **self.environment)).stdout or "[]") != rows:
            assert time.monotonic() < deadline, (done, self.log())
            time.sleep(0.2)

    def wait_for_log(self, text: str) -> str:
        deadline = time.monotonic() + 200
        while not re.search(text, self.log(), re.DOTALL):
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.2)
        return self.log()

    def log(self) -> str:
        (path,) = Path("/tmp").glob(f"fastetl-local-*-{self.aws_port}.log")
        return path.read_text()

    def stop(self) -> Done:
        return call("local", "stop", "--aws-port", self.aws_port)


@pytest.fixture
def background(tmp_path: Path) -> Iterator[Background]:
    made = Background(tmp_path)
    yield made
    made.stop()


def is_taken(port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


def test_one_terminal_is_enough(background: Background) -> None:
    path = background.folder / "fastetl.toml"
    path.write_text(CONFIG)
    started = background.start()
    assert started.returncode == 0, started.stderr
    assert "fastetl local stop" in started.stderr
    background.put("orders", {"id": {"N": "1"}, "note": {"S": "a"}})
    background.wait_for('SELECT "id" FROM "public"."orders_current"', [{"id": 1}])

    second = background.start()
    assert second.returncode == 2
    assert "another `fastetl local` runs at port" in second.stderr

    path.write_text(CONFIG + SECOND)  # a new pipeline while it runs
    background.wait_for_log("changed configuration: orders, people")
    background.put("people", {"id": {"S": "x"}})
    background.wait_for('SELECT "id" FROM "public"."people_current"', [{"id": "x"}])

    path.write_text(CONFIG.replace('keys = ["id"]', 'keys = ["note"]'))
    background.wait_for_log("reads another table, key or stream than at the start.*with the configuration before")

    stopped = background.stop()
    assert (stopped.returncode, stopped.stderr) == (0, "stopped\n")
    assert not is_taken(background.aws_port)
    assert not is_taken(background.data_api_port)
    for name in ("env", "stop"):
        again = call("local", name, "--aws-port", background.aws_port)
        assert again.returncode == 1
        assert "start one with `fastetl local --detach`" in again.stderr


def test_what_is_wrong_with_a_users_function_is_shown_before_the_first_item_and_with_its_place(
    background: Background,
) -> None:
    config = background.folder / "fastetl.toml"
    config.write_text(ENRICHED)
    assert background.start().returncode == 0
    background.wait_for_log("ingest: a pipeline cannot be set up .*No module named 'mine'")
    (background.folder / "mine.py").write_text(MINE)
    config.write_text(f"# Now it is there.\n{ENRICHED}")
    background.wait_for_log("the functions go on with the changed configuration")
    background.put("orders", {"id": {"N": "1"}, "note": {"S": "a"}})
    log = background.wait_for_log("ingest failed")
    assert "ingest failed, and is tried again: enrichment 0/function: ValueError" in log
    places = (
        r"a step of an enrichment failed .*\n  \S+/mine.py:3 in add\n    return helper\(frame\)\n"
        r"  \S+/mine.py:6 in helper\n    raise ValueError\(.*\)\n"
    )
    assert re.search(places, log), log
    time.sleep(2)  # it is tried again meanwhile
    assert background.log().count("ingest failed") == 1
    assert "secret" not in background.log()


def test_variables_that_the_configuration_names_reach_the_functions(background: Background) -> None:
    (background.folder / "fastetl.toml").write_text(MASKED)
    without = background.start()
    assert without.returncode == 2
    assert "NOTE_KEY is not set. Set it: export NOTE_KEY=..." in without.stderr
    (background.folder / "wrong.toml").write_text(CONFIG.replace("BIGINT", "BIGIN").replace("VARCHAR", "VARCHRA"))
    wrong = background.start("--config", "wrong.toml")
    assert (wrong.returncode, wrong.stderr.count("is not a Redshift type"), len(wrong.stderr.splitlines())) == (2, 2, 2)
    assert background.start(NOTE_KEY="0123456789abcdef").returncode == 0
    background.put("orders", {"id": {"N": "1"}, "note": {"S": "a"}})
    background.wait_for('SELECT length("note") AS "long" FROM "public"."orders_current"', [{"long": 64}])


def test_data_are_kept_in_a_folder(background: Background) -> None:
    (background.folder / "fastetl.toml").write_text(CONFIG)
    assert background.start("--data", "kept").returncode == 0
    background.put("orders", {"id": {"N": "1"}, "note": {"S": "a"}})
    assert background.stop().returncode == 0
    assert background.start("--data", "kept").returncode == 0
    background.wait_for('SELECT "id" FROM "public"."orders_current"', [{"id": 1}])
    assert background.stop().returncode == 0
    wrong = background.start("--data", "kept", "--warehouse", "postgres")
    assert (wrong.returncode, "only a DuckDB can be kept" in wrong.stderr) == (2, True)
    wrong = background.start("--data", "fastetl.toml")
    assert "--data: fastetl.toml cannot be written: File exists. Name another folder." in wrong.stderr


@pytest.mark.parametrize("option", ["--aws-port", "--data-api-port"])
def test_a_port_that_is_taken_is_told_in_a_line(option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = str(taken.getsockname()[1])
        other = "--data-api-port" if option == "--aws-port" else "--aws-port"
        done = call("local", option, number, other, str(free_port()))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"{option}: port {number} is taken by another program. Name another with {option}, or end it.\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_demonstration_cleans_up_when_it_is_ended(number: signal.Signals) -> None:
    command = [Path(sys.executable).with_name("fastetl"), "demo", "--flights", "5000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 200
        while len(children := find_children(process.pid)) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(number)
        _, err = process.communicate(timeout=200)
    assert process.returncode == 130
    assert err.rstrip().endswith("aborted")
    assert "Traceback" not in err
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def find_children(pid: int) -> list[int]:
    """The processes that one has started, and theirs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            child = int(path.parent.name)
            found += [child, *find_children(child)]
    return found
