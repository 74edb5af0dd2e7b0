"""`fastetl verify-account --load`: on both engines, and on engines that answer each question wrongly."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import boto3
import msgspec
import pytest

from fastetl.aws.redshift import Warehouse
from fastetl.aws.s3 import Bucket
from fastetl.config.model import Config
from fastetl.errors import EventError, StackError
from fastetl.load.rehearsal import take_step
from fastetl.local.warehouse.data_api import WarehouseServer
from fastetl.local.warehouse.duckdb_engine import DuckDBEngine
from fastetl.local.warehouse.engine import Answer, SqlError, Table
from fastetl.local.warehouse.postgres_engine import PostgresEngine
from fastetl.operate import Rehearsal, Verdict
from fastetl.sql.text import Statement
from tests.conftest import CREDENTIALS, Aws
from tests.deployments import make_deployment
from tests.plant import CALLERS, make_pipeline, warehouse_clients

ENGINES = {"duckdb": DuckDBEngine, "postgres": PostgresEngine}

Lie = Callable[[str], str | Answer]
"""What an engine makes of a statement in its own SQL: another statement, or an answer at once."""


class Engine:
    """An engine that can be told to answer wrongly."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.lies: list[Lie] = []
        self.rows: Callable[[Any, Any], Any] = lambda _columns, rows: rows
        self.texts: dict[str, str] = {}
        """What it says when statements with these parts fail."""
        self.types: dict[str, str] = {}
        """Of columns that it believes to be of another type."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def connect(self, user: str = "") -> Any:
        return Session(self._engine.connect(user), self)


class Session:
    def __init__(self, session: Any, engine: Engine) -> None:
        self._session, self._engine = session, engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, sql: str, *, has_rows: bool) -> Answer:
        said: str | Answer = sql
        for lie in self._engine.lies:
            said = lie(said) if isinstance(said, str) else said
        try:
            return said if isinstance(said, Answer) else self._session.run(said, has_rows=has_rows)
        except SqlError as error:
            raise SqlError(
                next((text for part, text in self._engine.texts.items() if part in sql), str(error))
            ) from error

    def column_types(self, table: Table) -> dict[str, Any]:
        types = self._session.column_types(table)
        others = {name: types[other] for name, other in self._engine.types.items() if name in types}
        return {**types, **others}

    def insert(self, table: Table, columns: Any, rows: Any) -> None:
        self._session.insert(table, columns, self._engine.rows(columns, rows))


class StubAlarm:
    """An alarm whose action is done, and a listener."""

    DONE = "Successfully executed action"

    def __init__(self) -> None:
        self.states: list[str] = []
        self.actions, self.listeners, self.state = [f"{self.DONE} arn"], 1, "OK"

    async def count_listeners(self) -> int:
        return self.listeners

    async def read_state(self) -> str:
        return self.state

    async def set_state(self, state: str, reason: str) -> None:
        assert "verify-account" in reason
        self.states.append(state)

    async def find_actions(self, since: float) -> list[str]:
        older = ["Successfully executed action of another day"]
        return (self.actions if self.states == ["ALARM"] else []) + older if since < time.time() else []


class Account:
    """A bucket and a warehouse, a coordinator and an operator."""

    def __init__(self, config: Config, bucket: Bucket, server: WarehouseServer, clients: tuple[Any, Any]) -> None:
        (pipeline,) = config.pipelines
        self.server, self.bucket = server, bucket
        self.engine: Any = server._engine
        self.operator, loading = (Warehouse(client, pipeline.redshift) for client in clients)
        common: dict[str, Any] = {"new_name": lambda: uuid.uuid4().hex}
        self.deployment = make_deployment(config, pipeline, bucket, None, self.operator, **common)
        self.coordinator = {pipeline.name: make_deployment(config, pipeline, bucket, None, loading, **common)}
        self.alarm = StubAlarm()
        self.asked: list[str] = []

    async def invoke(self, event: dict[str, Any]) -> Any:
        self.asked.append(event["rehearse"]["step"])
        return msgspec.to_builtins(await take_step(event["rehearse"], self.coordinator))

    def rehearsal(self, *questions: str, invoke: Any = None) -> Rehearsal:
        """One of all questions, or of those that have one of these words."""
        return Rehearsal(
            self.deployment,
            invoke or self.invoke,
            self.alarm,
            words=questions or ("",),
            sleep=lambda _: asyncio.sleep(0.01),
            overlap_seconds=20.0 if self.engine.concurrency > 1 else 0.3,
        )

    async def everything(self) -> tuple[set[str], set[str]]:
        """The warehouse's tables and the bucket's keys."""
        statement = Statement("test", "SELECT table_schema || '.' || table_name FROM information_schema.tables")
        statement_id = await self.operator.run([statement], name="test", token=(time.time_ns(),))
        rows = await self.operator.rows(statement_id, 0)
        return {name for (name,) in rows}, {key async for key in self.bucket.list_keys("")}


@pytest.fixture(params=ENGINES)
async def account(request: pytest.FixtureRequest, aws: Aws) -> AsyncIterator[Account]:
    blocking = boto3.client("s3", endpoint_url=aws.endpoint_url, **CREDENTIALS)
    engine: Any = Engine(ENGINES[request.param]())
    async with WarehouseServer(engine, blocking, time.time, callers=CALLERS) as server:
        name = await aws.new_bucket()
        config = Config(name, "ledger", (make_pipeline(),), "some/prefix/")
        clients = await warehouse_clients(aws, server)
        account = Account(config, Bucket(await aws.client("s3"), name), server, clients)
        await account.bucket.replace("some/prefix/check/of-somebody-else", b"")
        yield account
    blocking.close()


ON_DUCKDB = pytest.mark.parametrize("account", ["duckdb"], indirect=True)


def answers(verdicts: list[Verdict]) -> dict[str, str]:
    return {each.question: each.answer for each in verdicts}


async def test_everything_is_as_expected_and_nothing_is_left(account: Account) -> None:
    before = await account.everything()
    verdicts = await account.rehearsal().rehearse()
    assert [each for each in verdicts if not each.as_expected] == []
    assert all(each.follows for each in verdicts)
    said = answers(verdicts)
    at_once = account.engine.concurrency > 1
    assert said["Does one of two attempts at the same time load, and one only?"] == (
        f"yes, they ran {'at once' if at_once else 'one after the other (this warehouse let them not overlap)'};"
        " the second was refused by the gate, which read behind LOCK what the other had committed"
    )
    assert said["Do load errors name the bad file?"] == "yes, by the query's id and by the file's address"
    assert said["Does fastetl know these failures by their texts?"] == "yes, all 8"
    assert set(account.asked) == {"load", "resolve", "find", "errors_by_id", "errors_by_place"}
    assert account.alarm.states == ["ALARM", "OK"]
    assert await account.everything() == before
    assert "some/prefix/check/of-somebody-else" in before[1]


# --- wrong answers ----------------------------------------------------------------------------------------------------


def passes(literal: str) -> Lie:
    """No refusal of this text is one."""
    return lambda sql: Answer((("c", "int4"),), (("0",),)) if f"ELSE '{literal}'" in sql else sql


def fails(pattern: str, message: str) -> Lie:
    def lie(sql: str) -> str:
        if re.search(pattern, sql):
            raise SqlError(message)
        return sql

    return lie


def does_nothing(pattern: str) -> Lie:
    return lambda sql: Answer() if re.search(pattern, sql) else sql


def has_no_rows(pattern: str) -> Lie:
    return lambda sql: Answer((("c", "varchar"),)) if re.search(pattern, sql) else sql


def replaces(pattern: str, text: str) -> Lie:
    return lambda sql: re.sub(pattern, text, sql, flags=re.IGNORECASE)


def without_null(columns: Any, rows: Any) -> Any:
    """Every NULL of one column is an empty text."""
    texts = [n for n, (name, _) in enumerate(columns) if name == "c_varchar"]
    return [tuple("" if n in texts and value is None else value for n, value in enumerate(row)) for row in rows]


WRONG = {
    "what a load needs, and no more": "it may DELETE on table",
    "every column type": "row 2 has a value in c_varchar",
    "older layout": "row 4 has a value in c_varchar",
    "deletion stay": "no: 1 rows are shown, 0 tombstones are kept",
    "by its name": "no, it lists none of this name",
    "loaded batch refused": "no, it is FINISHED",
    "file refused": "no, it is FINISHED",
    "resolve tell": "it fails elsewhere: count",
    "two attempts": "no: FINISHED, FINISHED; the log has the change 1 times",
    "fail its COPY": "yes, copy: ERROR: ",
    "load errors": "no: by the query's id 0 rows of others",
    "by their texts": "yes, count: ERROR: quelque chose d'autre",
    "resync delete": "5 rows before, 5 after",
    "alarm that is set": "no: Failed to execute action",
}
"""How the answers begin, or go on, of an engine that has every question wrong, by words of the question."""


async def test_an_engine_that_answers_every_question_wrongly(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    before = await account.everything()
    account.engine.rows = without_null
    account.engine.types = {"c_integer": "c_varchar"}
    account.engine.texts = {"row counts differ": "quelque chose d'autre"}
    account.engine.lies = [
        replaces(r"has_table_privilege\([^)]*'DELETE'\)", "true"),
        replaces(r'"_deleted" = "fastetl_winners"."_deleted"', '"_deleted" = FALSE'),
        *map(passes, ("loaded before", "file loaded before", "fenced")),
        has_no_rows(r"FROM \"?sys_load_error_detail"),
        does_nothing(r'^UPDATE .* WHERE "_version" < '),
    ]
    list_entry = "fastetl.local.warehouse.data_api.wire.list_entry"
    monkeypatch.setattr(list_entry, lambda execution: {"Id": execution.id, "StatementName": "", "Status": "FINISHED"})
    account.alarm.actions = ["Failed to execute action arn:aws:sns:::alarms. Received error: KMS"]
    verdicts = await account.rehearsal(*WRONG).rehearse()
    *asked, removed = verdicts
    assert removed.as_expected
    for words, each in zip(WRONG, sorted(asked, key=lambda each: _place(each.question)), strict=True):
        assert words in each.question
        assert WRONG[words] in each.answer, each
        assert not each.as_expected, each
        assert each.is_bad == each.matters
        assert "tell the maintainers" in each.follows or "grant what" in each.follows or "mend that" in each.follows
    account.engine.lies = []
    assert await account.everything() == before


def _place(question: str) -> int:
    return next(n for n, words in enumerate(WRONG) if words in question)


@ON_DUCKDB
async def test_a_right_that_is_missing_is_named(account: Account) -> None:
    account.engine.lies = [replaces(r"has_table_privilege\([^)]*_gate[^)]*UPDATE[^)]*\)", "false")]
    (grants, _) = await account.rehearsal("what a load needs").rehearse()
    assert grants.is_bad
    assert re.fullmatch(r'IAMR:\S+: it lacks UPDATE on table "fastetl_verify_\w+"."rehearsal_gate"', grants.answer)


@ON_DUCKDB
async def test_a_client_token_that_is_not_known_again(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastetl.local.warehouse.data_api.TOKEN_SECONDS", -1)
    account.server.start_delay_seconds = 0.05
    types, token, _ = await account.rehearsal("every column type", "client token").rehearse()
    assert "its client token gives other statements each time" in types.answer
    assert (token.answer, token.as_expected, token.is_bad) == ("no, it gives others", False, False)


@ON_DUCKDB
async def test_query_ids_that_disagree_are_told(account: Account) -> None:
    account.server.query_id_skew = 7
    (_, errors, _) = await account.rehearsal("fail its COPY", "load errors").rehearse()
    assert errors.as_expected
    assert errors.answer.startswith("yes, by the file's address alone: ids of queries differ")


@ON_DUCKDB
@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"listeners": 0}, "no: its topic was told, and nobody has a confirmed subscription"),
        ({"state": "ALARM"}, "it is in alarm already"),
        ({"actions": []}, "no: no action was taken"),
    ],
)
async def test_an_alarm_that_nobody_hears(
    account: Account, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], answer: str
) -> None:
    monkeypatch.setattr("fastetl.operate.rehearsal_alarm.ACTION_SECONDS", 0.05)
    for name, value in change.items():
        setattr(account.alarm, name, value)
    (alarm, _) = await account.rehearsal("alarm that is set").rehearse()
    assert alarm.is_bad
    assert alarm.answer.startswith(answer)


# --- nothing is left --------------------------------------------------------------------------------------------------


@ON_DUCKDB
async def test_nothing_is_left_where_a_step_fails_or_the_rehearsal_is_interrupted(account: Account) -> None:
    before = await account.everything()

    async def refuse(_event: Any) -> Any:
        raise StackError("invoke coordinator: AccessDeniedException")

    verdicts = await account.rehearsal("every column type", "ListStatements", invoke=refuse).rehearse()
    assert [each.answer.startswith("could not be asked: invoke") for each in verdicts] == [True, True, False]
    assert all(each.is_bad for each in verdicts[:2])
    assert await account.everything() == before
    reached = asyncio.Event()

    async def hang(_event: Any) -> Any:
        reached.set()
        await asyncio.sleep(3600)

    task = asyncio.create_task(account.rehearsal("every column type", invoke=hang).rehearse())
    await reached.wait()
    assert await account.everything() != before
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await account.everything() == before


@ON_DUCKDB
async def test_what_cannot_be_removed_is_told(account: Account) -> None:
    account.engine.lies = [fails("^DROP SCHEMA", "permission denied")]
    *_, removed = await account.rehearsal("client token").rehearse()
    assert removed.is_bad
    assert re.match(r"schema fastetl_verify_[0-9a-f]{12}: .*permission denied", removed.answer)


# --- events -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"step": "sql"}, {"step": "DROP TABLE orders"}, {"name": 'x"; DROP'}, {"name": "0" * 13}, {"attempt": 0},
        {"attempt": "1; DROP"}, {"batch": "orders"}, {"sql": "SELECT 1"}, {"pipeline": "other"},
    ],
)  # fmt: skip
async def test_an_event_names_steps_of_a_fixed_list_and_nothing_else(change: dict[str, Any]) -> None:
    event = {"pipeline": "orders", "name": "0" * 12, "step": "load", "batch": "first", "attempt": 1} | change
    with pytest.raises(EventError, match="no step of a rehearsal"):
        await take_step(event, {"orders": None})  # type: ignore[dict-item]
