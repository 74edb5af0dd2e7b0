"""The coordinator's part of `fastetl verify-account --load`: steps that it takes as itself, in a schema made for them.

An event names a rehearsal, a step, a batch and an attempt, all of fixed lists, and never carries SQL. What is run are
the statements of every load, on tables, files and manifests that have the rehearsal's name. A step that is asked for
again gives the same statements' answer, since it has the same client token: so it is waited for.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from fastetl.columns import RULES, Column, RedshiftType
from fastetl.config import Pipeline
from fastetl.errors import EventError
from fastetl.load.plan import Planner, name_attempt
from fastetl.model import FileItem, Layout
from fastetl.sql import load_errors_sql

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastetl.aws import Deployment, Run
    from fastetl.model import Batch
    from fastetl.sql import Statement

RehearsalStep = Literal["load", "resolve", "errors_by_id", "errors_by_place", "find"]
"""`errors_by_id`, `errors_by_place`: what the warehouse tells of a failed COPY's rows, found by the query's id, or by
the files' address."""

FileName = Literal["first", "older", "deletes", "late", "poison", "short", "absent", "race"]

BatchName = Literal["first", "older", "deletes", "late", "poison", "short", "absent", "race", "again"]

BATCHES: Mapping[BatchName, tuple[FileName, ...]] = {
    "first": ("first",),
    "older": ("older",),
    "deletes": ("deletes",),
    "late": ("late",),
    "poison": ("poison",),
    "short": ("short",),
    "absent": ("absent",),
    "race": ("race",),
    "again": ("first", "late"),
}
"""The batches of a rehearsal and their files; `again` has one that another batch has loaded."""

ROWS: Mapping[FileName, int] = {
    "first": 3, "older": 2, "deletes": 1, "late": 1, "poison": 1, "short": 2, "absent": 1, "race": 1,
}  # fmt: skip
"""As the batch's list has them; `short` has one row less."""

ARGUMENTS = {"DECIMAL": "(38,10)", "VARCHAR": "(64)", "CHAR": "(8)", "VARBYTE": "(64)"}
"""Of types that have some."""

NO_QUERY = -1
LOOK_BACK_SECONDS = 86_400
CHANGED_AT = "2026-01-01 00:00:00.000000"


class Rehearse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an event asks for."""

    pipeline: str
    """Whose warehouse and role are tried out."""
    name: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{12}$")]
    """Of the rehearsal."""
    step: RehearsalStep
    batch: BatchName = "first"
    attempt: Annotated[int, msgspec.Meta(ge=1, le=3)] = 1


class Answer(msgspec.Struct, frozen=True):
    """What became of a step."""

    statement_id: str
    """As the Data API has it; empty where `find` found none."""
    state: Literal["RUNNING", "FINISHED", "FAILED", "UNKNOWN"] = "FINISHED"
    has_begun: bool = False
    """Whether its first statement is being executed, and no longer queued."""
    step: str = ""
    """The statement that failed."""
    error: str = ""
    query_id: int = 0
    rows: tuple[tuple[str, ...], ...] = ()
    """Of `resolve` the verdict, of the others what they select."""


def build_pipeline(pipeline: Pipeline, name: str) -> Pipeline:
    """Build the pipeline of a rehearsal: a column of every type, in a schema of its own.

    Args:
        pipeline: whose warehouse, roles and users it has.
        name: of the rehearsal.
    """
    columns = [Column("id", ("id",), RedshiftType("BIGINT"))]
    for kind in RULES:
        column = kind.replace(" ", "_").lower()
        columns.append(Column(f"c_{column}", (column,), RedshiftType.parse(kind + ARGUMENTS.get(kind, ""))))
    return Pipeline(
        name=f"fastetl-verify-{name}",
        table=pipeline.table,
        keys=("id",),
        schema=f"fastetl_verify_{name}",
        target="rehearsal",
        columns=tuple(columns),
        outputs=frozenset({"mirror", "log"}),
        redshift=msgspec.structs.replace(pipeline.redshift, grant_to=()),
    )


def build_layouts(pipeline: Pipeline) -> dict[FileName, Layout]:
    """Give the layout of each file of a rehearsal; the older one lacks a column, and has other marks.

    Args:
        pipeline: of the rehearsal.

    Returns:
        By the file's name.
    """
    today = msgspec.structs.replace(pipeline.layout, null_marker="<NULL>", delimiter="\t")
    older = msgspec.structs.replace(today, columns=today.columns[:-1], null_marker=r"\N", delimiter="|")
    return dict.fromkeys(ROWS, today) | {"older": older}


def folder_key(prefix: str, name: str) -> str:
    """Give the beginning of the keys of a rehearsal's files: where COPY's role may read, and objects expire in a day.

    Args:
        prefix: of the configuration.
        name: of the rehearsal.
    """
    return f"{prefix}check/{name}/"


def build_files(prefix: str, pipeline: Pipeline, name: str) -> dict[FileName, FileItem]:
    """Give a rehearsal's files as the ledger would have them.

    Args:
        prefix: of the configuration.
        pipeline: of the rehearsal.
        name: of the rehearsal.

    Returns:
        FILE items by the file's name; those of one layout have the same columns.
    """
    layouts = build_layouts(pipeline)
    return {file: _build_file(prefix, pipeline, name, file, layouts[file]) for file in ROWS}


def _build_file(prefix: str, pipeline: Pipeline, name: str, file: FileName, layout: Layout) -> FileItem:
    file_id = hashlib.blake2b(f"{name}/{file}".encode(), digest_size=16).hexdigest()
    return FileItem(
        file_id=file_id,
        pipeline=pipeline.name,
        key=f"{folder_key(prefix, name)}{file_id}.csv.gz",
        layout_id=layout.layout_id,
        checksum="",
        bytes=1,
        rows=ROWS[file],
        rejects=0,
        rejects_key="",
        version_min="",
        version_max="",
        changed_min=CHANGED_AT,
        changed_max=CHANGED_AT,
        created=0,
    )


async def take_step(event: Any, deployments: Mapping[str, Deployment]) -> Answer:
    """Take the step that an event names, or look again how it is.

    Args:
        event: a `Rehearse`, as JSON gives it.
        deployments: by pipeline, with the coordinator's credentials.

    Raises:
        EventError: the event asks for something else.
        StorageError, WarehouseError: it could not be taken; ask again.
    """
    try:
        asked = msgspec.convert(event, Rehearse)
    except msgspec.ValidationError as error:
        raise EventError(f"no step of a rehearsal: {error}") from error
    if asked.pipeline not in deployments:
        raise EventError(f"no step of a rehearsal: there is no pipeline {asked.pipeline!r}")
    return await _Steps(deployments[asked.pipeline], asked.name).take(asked)


class _Steps:
    def __init__(self, deployment: Deployment, name: str) -> None:
        self._name = name
        self._pipeline = build_pipeline(deployment.pipeline, name)
        self._warehouse = deployment.warehouse
        self._clock = deployment.clock
        self._planner = Planner(msgspec.structs.replace(deployment, pipeline=self._pipeline))
        self._files = build_files(deployment.config.prefix, self._pipeline, name)
        self._folder_url = f"s3://{deployment.config.bucket}/{folder_key(deployment.config.prefix, name)}"

    async def take(self, asked: Rehearse) -> Answer:
        files = [self._files[file] for file in BATCHES[asked.batch]]
        staged = await self._planner.stage(self._name, files)
        batch = msgspec.structs.replace(staged, attempt=asked.attempt)
        name = name_attempt(batch)
        if asked.step == "find":
            return Answer(await self._warehouse.find(name))
        if asked.step != "load":
            name = f"{name}/{asked.step}"
        statements = await self._build(asked.step, batch)
        statement_id = await self._warehouse.submit(statements, name=name, token=(name,))
        return await self._look(statement_id, statements)

    async def _build(self, step: RehearsalStep, batch: Batch) -> Sequence[Statement]:
        since = datetime.fromtimestamp(self._clock() - LOOK_BACK_SECONDS, UTC)
        match step:
            case "resolve":
                return self._planner.resolve(batch)
            case "errors_by_id":
                return load_errors_sql((await self._find_load(batch)).query_id, f"{self._folder_url}none/", since)
            case "errors_by_place":
                return load_errors_sql(NO_QUERY, self._folder_url, since)
            case _:
                return await self._planner.plan(batch)

    async def _find_load(self, batch: Batch) -> Run:
        name = name_attempt(batch)
        statement_id = await self._warehouse.submit(await self._planner.plan(batch), name=name, token=(name,))
        return await self._warehouse.describe(statement_id)

    async def _look(self, statement_id: str, statements: Sequence[Statement]) -> Answer:
        run = await self._warehouse.describe(statement_id)
        steps = [statement.step for statement in statements]
        rows: list[tuple[str, ...]] = []
        if run.state == "FINISHED" and (asked := {"verdict", "load_errors"}.intersection(steps)):
            rows = await self._warehouse.rows(statement_id, steps.index(asked.pop()))
        return Answer(
            statement_id,
            run.state,
            has_begun=run.has_begun,
            step=steps[run.failed_index] if run.failed_index >= 0 else "",
            error=run.error,
            query_id=run.query_id,
            rows=tuple(rows),
        )
