"""The command as users run it, with what it prints and its exit code.

One of each kind runs in a process, as installed: an answer, a problem, a completion, a demonstration. The others run
in this one.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import pytest
import sqlfluff

from fastetl.cli.configuration import parse_hours
from fastetl.local.flights import read_flights
from tests.cli.in_process import Done, call

CONFIG = """
bucket = "lake-of-somebody"
ledger_table = "ledger"

[redshift]
workgroup = "main"

[[pipelines]]
name = "orders"
table = "orders"
keys = ["id"]
target = "public.orders"
outputs = ["mirror", "log"]
columns = [
    { name = "id", type = "BIGINT" },
    { name = "total", type = "DECIMAL(38,2)", path = "sum.total" },
    { name = "note", type = "VARCHAR(20)" },
]
[pipelines.load]
max_age = "1s"
"""

BAD_CONFIG = """
bucket = "lake-of-somebody"
ledger_table = "ledger"
colour = "blue"

[redshift]
workgroup = "main"

[[pipelines]]
name = "orders"
table = "orders"
keys = ["id"]
target = "public.orders"
columns = [{ name = "id", type = "BIGINT" }, { name = "total", type = "MONEY" }]
[pipelines.file]
delimiter = "::"

[[pipelines]]
name = "copy"
table = "orders"
target = "public.copy"
columns = [{ name = "id", type = "BIGINT" }]
"""

EVENT = {
    "Records": [
        {
            "eventID": "e1",
            "eventName": "INSERT",
            "eventSourceARN": "arn:aws:dynamodb:eu-west-1:1:table/orders/stream/2026-01-01T00:00:00.000",
            "dynamodb": {
                "Keys": {"id": {"N": "1"}},
                "NewImage": {"id": {"N": "1"}, "sum": {"M": {"total": {"N": "9.5"}}}, "note": {"S": 'say "hi", x'}},
                "SequenceNumber": "1",
                "ApproximateCreationDateTime": 1767225600,
            },
        }
    ]
}


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("fastetl"), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        timeout=250,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fastetl.toml").write_text(CONFIG)
    (tmp_path / "bad.toml").write_text(BAD_CONFIG)
    (tmp_path / "event.json").write_text(json.dumps(EVENT))
    return tmp_path


def test_check_tells_what_a_configuration_says(folder: Path) -> None:
    done = run("check", "--json", cwd=folder)
    (described,) = json.loads(done.stdout)
    assert (described["pipeline"], described["to"], described["outputs"]) == (
        "orders",
        "public.orders",
        ["log", "mirror"],
    )
    assert done.returncode == 0
    assert described["warnings"] == []


def test_check_warns_of_what_redshift_will_refuse_later(folder: Path) -> None:
    config = (folder / "fastetl.toml").read_text() + '\n[pipelines.mirror]\nencode = { note = "BYTEDICT" }\n'
    (folder / "stored.toml").write_text(config)
    done = call("check", "--config", "stored.toml", cwd=folder)
    assert done.returncode == 0
    assert "pipelines[0].mirror.encode.note: Redshift lengthens no VARCHAR" in done.stderr


def test_every_problem_of_a_configuration_is_told_at_once(folder: Path) -> None:
    done = run("check", "--config", "bad.toml", cwd=folder)
    assert done.returncode == 2
    assert done.stdout == ""
    for part in ("colour", "MONEY", "delimiter", "pipelines[1].keys", "orders"):
        assert part in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) >= 5


def test_a_configuration_that_is_not_there_is_a_problem_like_any_other(folder: Path) -> None:
    done = call("check", "--config", "none.toml", cwd=folder)
    assert (done.returncode, "none.toml: cannot be read" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("hours", "problem"),
    [
        (("--from", "31.01.2026T00"), "--from: '31.01.2026T00' is not an hour. Write it as 2026-01-31T00"),
        (("--to", "2026-02-30T00"), "--to: '2026-02-30T00' is not an hour"),
        (("--from", "2026-01-31T00:00"), "--from: '2026-01-31T00:00' is not an hour"),
        (("--from", "2026-02-01", "--to", "2026-01-31"), "--to: 2026-01-31 is not after 2026-02-01"),
        (("--from", "2026-02-01T05", "--to", "2026-02-01T05"), "--to: 2026-02-01T05 is not after 2026-02-01T05"),
    ],
)
@pytest.mark.parametrize("command", [("reconcile",), ("reload", "--into", "public.again")])
def test_an_hour_that_names_nothing_is_a_problem(
    folder: Path, command: tuple[str, ...], hours: tuple[str, ...], problem: str
) -> None:
    done = call(*command, *hours, cwd=folder)
    assert done.returncode == 2
    assert problem in done.stderr


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("", ""), ("", "~")),
        (("2026-01-31T07", ""), ("2026/01/31/07", "~")),
        (("", "2026-01-31"), ("", "2026/01/31/00")),
        (("2026-01-31", "2026-02-01T00"), ("2026/01/31/00", "2026/02/01/00")),
        (("0026-01-31", "2026-02-01"), ("0026/01/31/00", "2026/02/01/00")),
    ],
)
def test_hours_are_read_as_keys_write_them(given: tuple[str, str], expected: tuple[str, str]) -> None:
    assert parse_hours(*given) == expected


def test_ddl_is_sql_for_redshift(folder: Path) -> None:
    done = call("ddl", cwd=folder)
    assert done.returncode == 0
    for table in (
        '"orders"',
        '"orders_log"',
        '"orders_loads"',
        '"orders_load_files"',
        '"orders_fences"',
        '"orders_gate"',
    ):
        assert table in done.stdout
    parsed = sqlfluff.parse(done.stdout, dialect="redshift")
    assert "unparsable" not in json.dumps(parsed)


def test_transform_shows_what_would_be_written(folder: Path) -> None:
    done = call("transform", "event.json", cwd=folder)
    header, row = done.stdout.splitlines()
    assert header.split(",")[-3:] == ["id", "total", "note"]
    assert row.startswith("N=1;,0000#2026-01-01T00:00:00.000#")
    assert row.endswith(',1,9.5,"say ""hi"", x"')
    assert (done.returncode, done.stderr) == (0, "")


def test_transform_shows_rejects_apart(folder: Path) -> None:
    bad = json.dumps(EVENT).replace("9.5", "9.555")
    (folder / "event.json").write_text(bad)
    done = call("transform", "event.json", cwd=folder)
    assert len(done.stdout.splitlines()) == 1
    reject = json.loads(done.stderr)
    assert (reject["column"], reject["reason"]) == ("total", "scale")


@pytest.mark.parametrize(
    ("words", "completed"),
    [("fastetl sta", "status"), ("fastetl quarantine re", "retry"), ("fastetl backfill --sc", "--scan")],
)
def test_a_shell_completes_commands_and_options(words: str, completed: str) -> None:
    count = str(len(words.split()) - 1)
    done = run(COMP_WORDS=words, COMP_CWORD=count, _FASTETL_COMPLETE="bash_complete")
    assert done.stdout == f"plain,{completed}\n"


def test_an_answer_that_cannot_be_written_is_told(folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [Path(sys.executable).with_name("fastetl"), "check"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=folder, check=False)
    assert (done.returncode, done.stderr) == (1, "No space left on device.\n")


@pytest.mark.parametrize("warehouse", ["duckdb", "postgres"])
def test_demo(warehouse: str) -> None:
    done = run("demo", "--flights", "400", "--warehouse", warehouse, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert summary["mirror_equals_source"]
    assert summary["log_has_each_event_once"]
    assert summary["batches"] >= 3
    assert summary["rejects"] == 1
    assert len(summary["answer"]) == 5
    assert summary["changes"] > 400


def test_the_second_part_of_the_demo() -> None:
    done = run("demo", "--single-table", "--customers", "12", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert [each["table"] for each in summary["tables"]] == [
        "public.customers", "public.carts", "public.orders", "public.order_lines", "public.shop",
    ]  # fmt: skip
    assert all(each["is_equal"] and each["rows"] for each in summary["tables"])
    assert summary["moved"] == 4


def test_a_first_configuration_runs(tmp_path: Path) -> None:
    sample = tmp_path / "items.jsonl"
    sample.write_text("".join(json.dumps({"Item": item}) + "\n" for item in read_flights(300)))
    keys = ["--keys", "day", "--keys", "flight"]
    made = call("init", "--table", "flights", "--items", str(sample), *keys, "--log", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert call("check", cwd=tmp_path).returncode == 0
    again = call("init", "--table", "flights", "--items", str(sample), *keys, cwd=tmp_path)
    assert (again.returncode, "is there already" in again.stderr) == (2, True)
    done = call("demo", "--config", "fastetl.toml", "--flights", "300", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["mirror_equals_source"], summary["log_has_each_event_once"], summary["rejects"]) == (True, True, 1)


def test_what_an_ordinary_client_writes_to_local_shows_up_in_the_mirror(folder: Path) -> None:
    aws_port, data_api_port = free_port(), free_port()
    command: list[Any] = [Path(sys.executable).with_name("fastetl"), "local", "--config", folder / "fastetl.toml"]
    ports = ["--aws-port", str(aws_port), "--data-api-port", str(data_api_port)]
    with subprocess.Popen([*command, *ports], stdout=subprocess.PIPE, text=True) as process:
        try:
            environment = exported(process)
            client = boto3.client("dynamodb", **sdk(environment))
            client.put_item(TableName="orders", Item={"id": {"N": "7"}, "note": {"S": "by hand"}})
            query = ['SELECT "id", "note" FROM "public"."orders_current"', "--json"]
            url = {"AWS_ENDPOINT_URL_REDSHIFT_DATA": f"http://127.0.0.1:{data_api_port}"}
            deadline = time.monotonic() + 200
            while not (rows := json.loads(call("local", "sql", *query, **url).stdout)):
                assert time.monotonic() < deadline, "the item does not arrive"
                time.sleep(0.1)
            assert rows == [{"id": 7, "note": "by hand"}]
            operate(folder, {**url, **environment})
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0


def operate(folder: Path, environment: dict[str, str]) -> None:
    """What operators look at and do, while the stack runs."""

    def command(*arguments: str) -> Done:
        return call(*arguments, "--config", folder / "fastetl.toml", **environment)

    assert command("rejects", "list").stderr == "no record is rejected\n"
    client = boto3.client("dynamodb", **sdk(environment))
    client.put_item(TableName="orders", Item={"id": {"N": "8"}, "note": {"S": "x" * 21}})
    deadline = time.monotonic() + 200
    while not (keys := command("rejects", "list", "--keys").stdout.split()):
        assert time.monotonic() < deadline, "the reject does not arrive"
        time.sleep(0.1)
    assert command("rejects", "list").stdout == f"{keys[0]}\t1 note/too_long\n"
    start = keys[0].rpartition("/")[2][:8]
    (reject,) = [json.loads(line) for line in command("rejects", "show", start).stdout.splitlines()]
    assert (reject["column"], reject["reason"]) == ("note", "too_long")
    (replayed,) = json.loads(command("rejects", "replay", start, "--json").stdout)
    assert (replayed["records"], replayed["rejects"]) == (1, 1)
    command("pause", "--reason", "maintenance")
    (status,) = json.loads(command("status", "--json").stdout)
    assert (status["paused"], status["paused_by"], status["pending_files"]) == ("maintenance", "operator", 0)
    in_a_process = run("status", "--config", str(folder / "fastetl.toml"), **environment)
    assert "PAUSED by operator: maintenance" in in_a_process.stdout
    command("resume")
    command("load", "--now")
    reconciled = command("reconcile", "--json")
    assert reconciled.returncode == 0
    (found,) = json.loads(reconciled.stdout)
    # What was replayed is counted with both files: the one that it was rejected from, and the one that it formed.
    assert (found["records"], found["rows"], found["rejects"], found["differences"]) == (3, 1, 2, [])
    assert json.loads(command("rebuild-ledger", "--json").stdout) == [
        {"pipeline": "orders", "registered": 0, "marked_loaded": 0, "waiting_again": 0}
    ]
    assert json.loads(command("quarantine", "list", "--json").stdout) == []
    drift = command("schema", "diff")
    assert (drift.returncode, drift.stdout) == (1, "")
    assert "a value did not fit column note (too_long), and its record was rejected" in drift.stderr
    assert command("ddl", "--apply").returncode == 0
    online = command("check", "--online")
    assert (online.returncode, online.stdout.count("ok")) == (0, 6), online
    verified = command("verify-account", "--json")
    answers = [each["answer"].split()[0] for each in json.loads(verified.stdout)]
    assert answers == ["yes,", "NULL", "COPY", "no,", "no", "1"]
    assert verified.returncode == 0
    made = call("init", "--table", "orders", "--out", folder / "made.toml", **environment)
    assert made.returncode == 0, made.stderr
    assert 'keys = ["id"]' in (folder / "made.toml").read_text()
    assert json.loads(command("replay", "--json").stdout) == []


def exported(process: subprocess.Popen[str]) -> dict[str, str]:
    """The variables that the command prints."""
    assert process.stdout is not None
    found: dict[str, str] = {}
    while "FASTETL_REDSHIFT_WORKGROUP" not in found:
        name, _, value = process.stdout.readline().removeprefix("export ").strip().partition("=")
        found[name] = value
    return found


def sdk(environment: dict[str, str]) -> dict[str, Any]:
    """What the variables say to an SDK."""
    return {
        "endpoint_url": environment["AWS_ENDPOINT_URL"],
        "aws_access_key_id": environment["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": environment["AWS_SECRET_ACCESS_KEY"],
        "region_name": environment["AWS_DEFAULT_REGION"],
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
