"""Every command against an AWS that refuses: each call in its turn, until the command gets through.

A command runs in this process; its services are moto and DuckDB behind a gate that answers one call with AccessDenied.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import aiohttp
import boto3
import pytest
from aiohttp import web

from fastetl.aws import TABLE_SCHEMA
from fastetl.aws.ledger.items import write_item
from fastetl.backfill import backfiller
from fastetl.cli import app
from fastetl.local.warehouse import DuckDBEngine, WarehouseServer
from tests.cli.test_wrong_input import EXPECTED, OFFLINE
from tests.conftest import CREDENTIALS

BUCKET, LEDGER, TABLE = "refusing-lake", "refusing-ledger", "refused-orders"
CALLS = 12
"""Of a command that are refused, one after the other; what is later is more of the same."""

CONFIG = f"""
[[pipelines]]
name = "orders"
table = "{TABLE}"
keys = ["id"]
target = "public.orders"
outputs = ["mirror", "log"]
columns = [
    {{ name = "id", type = "BIGINT" }},
    {{ name = "note", type = "VARCHAR(5)" }},
]
[[pipelines.enrichments]]
kind = "lookup"
source = "s3://{BUCKET}/references/notes.csv"
inputs = ["note"]
on = ["note"]
outputs = [{{ name = "meaning", type = "VARCHAR(20)" }}]
"""

ARN = f"arn:aws:dynamodb:us-east-1:123456789012:table/{TABLE}/stream/2026-01-01T00:00:00.000"


def record(number: int, note: str) -> dict[str, Any]:
    keys = {"id": {"N": str(number)}}
    change = {
        "ApproximateCreationDateTime": 1767225600 + number, "SequenceNumber": str(number), "Keys": keys,
        "NewImage": {**keys, "note": {"S": note}},
    }  # fmt: skip
    return {"eventID": f"e{number}", "eventName": "INSERT", "eventSourceARN": ARN, "dynamodb": change}


class Gate:
    """Passes requests on to where the path says, but for the one that is to be refused."""

    def __init__(self, moto_url: str) -> None:
        self._moto_url = moto_url
        self._loop = asyncio.new_event_loop()
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self.refuse_at, self.has_refused = -1, False
        self.calls: list[str] = []
        self.run = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(200)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        blocking = boto3.client("s3", endpoint_url=self._moto_url, **CREDENTIALS)
        async with (
            WarehouseServer(DuckDBEngine(), blocking, time.time) as warehouse,
            aiohttp.ClientSession(auto_decompress=False) as session,
        ):
            runner = web.AppRunner(self._application(session, warehouse.endpoint_url), access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            self._ready.set()
            await self._stop.wait()
            await runner.cleanup()
        blocking.close()

    def _application(self, session: aiohttp.ClientSession, warehouse_url: str) -> web.Application:
        async def handle(request: web.Request) -> web.Response:
            target, body = request.headers.get("X-Amz-Target", ""), await request.read()
            url = warehouse_url if target.startswith("RedshiftData") else self._moto_url
            # Of a command that ended at a refusal, calls that it had begun beside the refused one may come later.
            if f"Credential=run{self.run}/" in request.headers.get("Authorization", ""):
                self.calls.append(target or f"{request.method} {request.path_qs}")
                if len(self.calls) - 1 == self.refuse_at:
                    self.has_refused = True
                    return refusal(request, target)
            async with session.request(
                request.method, url + request.raw_path, data=body, headers=request.headers, skip_auto_headers=["Accept"]
            ) as upstream:
                content = await upstream.read()
                hop = {"transfer-encoding", "connection", "date", "server", "content-length"}
                kept = {name: value for name, value in upstream.headers.items() if name.lower() not in hop}
                if request.method == "HEAD" and "Content-Length" in upstream.headers:
                    kept["Content-Length"] = upstream.headers["Content-Length"]
                return web.Response(status=upstream.status, body=content or None, headers=kept)

        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", handle)
        return application


def refusal(request: web.Request, target: str) -> web.Response:
    if target:
        body = {"__type": "AccessDeniedException", "message": "not authorized"}
        return web.json_response(body, status=400, content_type="application/x-amz-json-1.1")
    error = "<Error><Code>AccessDenied</Code><Message>not authorized</Message></Error>"
    if request.content_type == "application/x-www-form-urlencoded":
        error = f"<ErrorResponse>{error}</ErrorResponse>"
    return web.Response(text="" if request.method == "HEAD" else error, status=403, content_type="text/xml")


class Desk:
    """An operator's desk: a configuration, a deployment with something of everything, and the command."""

    def __init__(self, gate: Gate, folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.gate, self._capsys, self._patch = gate, capsys, patch
        sdk = {"endpoint_url": gate.url, **CREDENTIALS}
        self.s3: Any = boto3.client("s3", **sdk)
        self.dynamodb: Any = boto3.client("dynamodb", **sdk)
        (folder / "fastetl.toml").write_text(CONFIG)
        patch.chdir(folder)
        for name, value in {
            "AWS_ENDPOINT_URL": gate.url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1", "FASTETL_BUCKET": BUCKET, "FASTETL_LEDGER_TABLE": LEDGER,
            "FASTETL_REDSHIFT_WORKGROUP": "main", "COLUMNS": "400",
        }.items():  # fmt: skip
            patch.setenv(name, value)

    def run(self, *arguments: str, refuse_at: int = -1) -> tuple[int, str]:
        """Give the exit code and everything printed."""
        self.gate.calls.clear()
        self.gate.run += 1
        self._patch.setenv("AWS_ACCESS_KEY_ID", f"run{self.gate.run}")
        self.gate.refuse_at, self.gate.has_refused = refuse_at, False
        self._patch.setattr(sys, "argv", ["fastetl", *arguments])
        with pytest.raises(SystemExit) as ended:
            app()
        self.gate.refuse_at = -1
        printed = self._capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    def give_up(self) -> None:
        """What the event source mapping gave up on: two records that fit, and one that does not."""
        event = {"Records": [record(1, "a"), record(2, "b"), record(3, "much too long")]}
        body = json.dumps({"payload": json.dumps(event)}).encode()
        self.s3.put_object(Bucket=BUCKET, Key="aws/lambda/uuid/shard/2026/01/01/a", Body=body)

    def reject_key(self) -> str:
        return str(self.s3.list_objects_v2(Bucket=BUCKET, Prefix="rejects/")["Contents"][0]["Key"])

    def file_id(self) -> str:
        rows = self.dynamodb.scan(TableName=LEDGER)["Items"]
        return next(row["file_id"]["S"] for row in rows if row["pk"]["S"].startswith("F#"))

    def quarantine(self) -> None:
        """Put the file into quarantine, as a coordinator would."""
        self.dynamodb.update_item(
            TableName=LEDGER, Key={"pk": {"S": f"F#{self.file_id()}"}}, UpdateExpression="SET #s = :s, q = :q",
            ExpressionAttributeNames={"#s": "state"},
            ExpressionAttributeValues={":s": {"S": "QUARANTINED"}, ":q": {"S": "orders#quarantined"}},
        )  # fmt: skip

    def create_head(self) -> None:
        """What the coordinator makes when it first wakes."""
        head = {"pk": "P#orders", "pipeline": "orders", "generation": 1, "open": [], "installation": "here"}
        head |= {"stack": f"{BUCKET}/{LEDGER}/orders", "epochs": []}
        self.dynamodb.put_item(TableName=LEDGER, Item=write_item(head))


@pytest.fixture(scope="module")
def gate(moto_url: str) -> Iterator[Gate]:
    with Gate(moto_url) as opened:
        yield opened


@pytest.fixture
def desk(
    moto_url: str, gate: Gate, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    urllib.request.urlopen(urllib.request.Request(f"{moto_url}/moto-api/reset", method="POST")).close()
    made = Desk(gate, tmp_path, capsys, monkeypatch)
    made.s3.create_bucket(Bucket=BUCKET)
    made.s3.put_object(Bucket=BUCKET, Key="references/notes.csv", Body=b"note,meaning\na,first\n")
    made.dynamodb.create_table(TableName=LEDGER, BillingMode="PAY_PER_REQUEST", **TABLE_SCHEMA)
    made.dynamodb.create_table(
        TableName=TABLE, BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )  # fmt: skip
    made.dynamodb.put_item(TableName=TABLE, Item={"id": {"N": "1"}, "note": {"S": "a"}})
    monkeypatch.setattr(backfiller, "EPOCH_LEAD_SECONDS", 0)
    monkeypatch.setattr(backfiller, "EPOCHS_KEPT_SECONDS", 0)
    monkeypatch.setattr(backfiller, "CLOCK_SLACK_SECONDS", 0)
    code, printed = made.run("ddl", "--apply")
    assert code == 0, printed
    made.create_head()
    return made


def test_replay_fetches_what_enrichments_read_from_s3(desk: Desk) -> None:
    desk.give_up()
    code, printed = desk.run("replay", "--json")
    assert code == 0, printed
    (replayed,) = json.loads(printed.splitlines()[0])
    assert (replayed["records"], replayed["rejects"]) == (3, 1)
    key = next(entry["Key"] for entry in desk.s3.list_objects_v2(Bucket=BUCKET, Prefix="data/")["Contents"])
    lines = gzip.decompress(desk.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()).decode().splitlines()
    assert [line.split(",")[-3:] for line in lines] == [["1", "a", "first"], ["2", "b", "<N>"]]
    code, printed = desk.run("rejects", "replay", desk.reject_key(), "--json")
    assert code == 0, printed
    assert [each["rejects"] for each in json.loads(printed.splitlines()[0])] == [1]


def prepared_with_files(desk: Desk) -> None:
    desk.give_up()
    assert desk.run("replay")[0] == 0


def prepared_with_quarantine(desk: Desk) -> None:
    prepared_with_files(desk)
    desk.quarantine()


Prepare = Callable[[Desk], None]
COMMANDS: dict[str, tuple[Prepare, Prepare, Callable[[Desk], list[str]]]] = {}
"""What is there before the first call is refused, what is put back before each next one, and the command."""


def command(*words: str, once: Prepare = lambda _: None, each: Prepare = lambda _: None) -> None:
    COMMANDS[" ".join(words)] = (once, each, lambda _: list(words))


command("status", once=prepared_with_files)
command("load", "--now", once=prepared_with_files)
command("pause", "--reason", "test", once=prepared_with_files)
command("resume", once=prepared_with_files)
command("replay", each=Desk.give_up)
command("reconcile", once=prepared_with_files)
command("verify", "--yes", "--settle", "0")
command("rebuild-ledger", once=prepared_with_files)
command("quarantine", "list", once=prepared_with_quarantine)
command("rejects", "list", once=prepared_with_files)
command("backfill", "--scan", "--no-wait")
command("resync", "--scan", "--no-wait")
command("reload", "--into", "public.again", once=prepared_with_files)
command("schema", "diff", once=prepared_with_files)
command("schema", "diff", "--apply", once=prepared_with_files)
command("check", "--online")
command("ddl", "--apply")
command("verify-account")
command("outputs", "stack")
command("init", "--table", TABLE, "--out", "made.toml", each=lambda _: Path("made.toml").unlink(missing_ok=True))
command("tune", "--table", TABLE, "--calibrate", "/aws/lambda/ingest")


def of_file(*words: str) -> Callable[[Desk], list[str]]:
    return lambda desk: [*words, desk.file_id()]


def of_reject(*words: str) -> Callable[[Desk], list[str]]:
    return lambda desk: [*words, desk.reject_key()]


for more in (["show"], ["retry"], ["drop", "--yes"]):
    words = ["quarantine", *more]
    COMMANDS[" ".join(words)] = (prepared_with_quarantine, Desk.quarantine, of_file(*words))
COMMANDS["rejects show"] = (prepared_with_files, lambda _: None, of_reject("rejects", "show"))
for more in (["replay"], ["drop", "--yes"]):
    words = ["rejects", *more]
    COMMANDS[" ".join(words)] = (lambda _: None, prepared_with_files, of_reject(*words))


def test_every_command_that_asks_aws_is_refused_here() -> None:
    """`cost` asks what `tune` asks, and measures for half a minute where nothing is refused."""
    asking = EXPECTED.keys() - OFFLINE - {"cost"}
    assert {name for name in asking if not any(f"{each} ".startswith(f"{name} ") for each in COMMANDS)} == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_refused_call_is_told_in_a_line_and_not_as_a_traceback(desk: Desk, name: str) -> None:
    once, each, arguments = COMMANDS[name]
    once(desk)
    for place in range(CALLS if name != "verify-account" else CALLS // 2):
        each(desk)
        code, printed = desk.run(*arguments(desk), refuse_at=place)
        if not desk.gate.has_refused:
            assert place, "it made no call"
            return
        what = f"{desk.gate.calls[place]}: {code} {printed}"
        assert code in {1, 2}, what
        assert "AccessDenied" in printed or "403" in printed, what
        assert not any(word in printed for word in ("Traceback", "ExceptionGroup", "ClientError")), what
