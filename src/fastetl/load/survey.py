"""Read everything that a decision needs: HEAD and its batches, the files that wait, and what the warehouse says."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from fastetl.aws import Deployment, Run
from fastetl.errors import WarehouseError
from fastetl.keys import data_prefix
from fastetl.load import batches
from fastetl.load.decide import (
    RUN_LIMIT_SECONDS,
    RUNNING,
    Verdict,
    Waiting,
    find_due,
    is_older,
    is_probing,
    looks_for_files,
)
from fastetl.load.epochs import Epochs
from fastetl.load.failures import describe_load_error, explain, find_file_read
from fastetl.load.plan import Planner, name_attempt
from fastetl.load.together import Standing
from fastetl.model import Batch, FileItem, Head, PendingFile
from fastetl.sql import load_errors_sql

PROBED_AMONG = 1000
"""A probe takes the youngest of this many waiting files, at most."""

CLOCK_SLACK_SECONDS = 300
"""How much this clock and the warehouse's may differ."""

MAX_SUSPECTS = 100
"""Files that the warehouse named, kept in one BATCH item."""

COUNTED_FILES = 20_000
"""Waiting files that are counted at most."""

STUCK_SECONDS = 300
"""A load that runs longer probably waits for somebody's lock: others need not wait for it."""


class Backlog(msgspec.Struct, frozen=True):
    """What a pipeline has waiting, as the index shows it."""

    files: int
    bytes: int
    oldest_age_seconds: float
    more: bool
    """Whether there is more than was counted."""


class Survey:
    """Reads the state of one pipeline. It writes only HEAD, where there is none or its epochs are not known."""

    def __init__(self, deployment: Deployment, planner: Planner) -> None:
        self._pipeline = deployment.pipeline
        self._ledger = deployment.ledger
        self._warehouse = deployment.warehouse
        self._clock = deployment.clock
        self._epochs = Epochs(deployment)
        self._planner = planner
        config, name = deployment.config, deployment.pipeline.name
        self._data_url = f"s3://{config.bucket}/{data_prefix(config.prefix, name)}"

    async def read_ledger(self) -> tuple[Head, list[Batch]]:
        """Read HEAD, and the open batches that it names, consistently."""
        # HEAD before the index: a batch that closes in between changes the generation, and a swap fails.
        head = await self._epochs.head()
        return head, [await self._ledger.batches.read(batch_id) for batch_id in head.open]

    async def find_waiting(self, head: Head, open_batches: Sequence[Batch], share: float = 1.0) -> Waiting:
        """Find the files that the next batch would take, if another batch may be opened.

        Args:
            head: as it was read.
            open_batches: that it names.
            share: the batch is due when this share of one of its thresholds is reached.
        """
        if math.isinf(share) or not self._may_open(head, open_batches):
            return Waiting()
        candidates = await self._choose_candidates(head, open_batches, self._ledger.files.pending(self._pipeline.name))
        is_due = self._measure_fullness(head, open_batches, candidates) >= share
        if not (is_due or head.load_requested):
            return Waiting()
        wanted = [file.file_id for file in (candidates[-1:] if is_probing(head, open_batches) else candidates)]
        # The index is late: only the FILE item tells whether a file waits.
        found = await self._ledger.files.read(wanted)
        files = [found[file_id] for file_id in wanted if file_id in found and found[file_id].state == "PENDING"]
        return Waiting(_of_one_source(files), is_due)

    async def read_standing(self, most: int = COUNTED_FILES) -> tuple[Standing, Backlog, Head]:
        """Read how much waits, and what the pipeline would do if it were allowed to. Asks the warehouse nothing."""
        head, open_batches = await self.read_ledger()
        listed = [file async for file in _take(self._ledger.files.pending(self._pipeline.name), most)]
        oldest_age = (self.now() - listed[0].created) / 1000 if listed else 0.0
        backlog = Backlog(len(listed), sum(file.bytes for file in listed), oldest_age, more=len(listed) == most)
        fullness = 0.0
        if listed and self._may_open(head, open_batches):
            candidates = await self._choose_candidates(head, open_batches, _each(listed))
            fullness = self._measure_fullness(head, open_batches, candidates)
            fullness = max(1.0, fullness) if candidates and head.load_requested else fullness
        running = [batch for batch in open_batches if batch.state in RUNNING]
        standing = Standing(
            pipeline=self._pipeline.name,
            warehouse=self._pipeline.redshift.warehouse,
            fullness=fullness,
            has_attempt=find_due(head, open_batches, self.now()) is not None,
            is_running=bool(running),
            is_stuck=any(is_older(batch, STUCK_SECONDS, self.now()) for batch in running),
        )
        return standing, backlog, head

    def _may_open(self, head: Head, open_batches: Sequence[Batch]) -> bool:
        running = any(batch.state in RUNNING for batch in open_batches)
        return not running and looks_for_files(head, open_batches, self.now())

    async def _choose_candidates(
        self, head: Head, open_batches: Sequence[Batch], listed: AsyncIterator[PendingFile]
    ) -> list[PendingFile]:
        """Choose the oldest waiting files of one layout that are in no open batch; of any layout for a probe."""
        probing = is_probing(head, open_batches)
        most = PROBED_AMONG if probing else self._pipeline.load.max_files
        taken = {file_id for batch in open_batches for file_id in batches.list_members(batch)}
        files: list[PendingFile] = []
        async for file in listed:
            # A probe is one file: of the oldest layout alone there may be none that is good.
            if file.file_id in taken or (not probing and files and file.layout_id != files[0].layout_id):
                continue
            files.append(file)
            if len(files) == most:
                break
        return files

    def _measure_fullness(self, head: Head, open_batches: Sequence[Batch], candidates: Sequence[PendingFile]) -> float:
        """Give the share of the threshold that is reached first."""
        if not candidates:
            return 0.0
        if is_probing(head, open_batches):
            return 1.0
        policy = self._pipeline.load
        age_seconds = (self.now() - candidates[0].created) / 1000
        size = sum(file.bytes for file in candidates)
        return max(age_seconds / policy.max_age_seconds, size / policy.max_bytes, len(candidates) / policy.max_files)

    async def ask_warehouse(self, open_batches: Sequence[Batch]) -> Mapping[str, Verdict]:
        """Ask the warehouse about every batch that it is at work on."""
        return {batch.batch_id: await self._ask(batch) for batch in open_batches if batch.state in RUNNING}

    async def _ask(self, batch: Batch) -> Verdict:
        if batch.state == "SUBMITTING":
            return await self._look_for_attempt(batch)
        if not batch.statement_id:
            return Verdict("unseen")
        run = await self._warehouse.describe(batch.statement_id)
        match run.state:
            case "RUNNING":
                return Verdict("running")
            case "UNKNOWN":
                return Verdict("lost", error=run.error)
            case "FAILED":
                return await self._read_failure(batch, run)
            case "FINISHED":
                return await self._read_verdict(batch) if batch.state == "RESOLVING" else Verdict("finished")

    async def _look_for_attempt(self, batch: Batch) -> Verdict:
        try:
            statement_id = await self._warehouse.find(name_attempt(batch))
        except WarehouseError:
            # It cannot be looked for. The client token gives the same id, and where that is forgotten, resolve tells
            # what became of the attempt.
            statement_id = ""
        if statement_id:
            return Verdict("seen", statement_id)
        planned = tuple(statement.step for statement in await self._planner.load(batch))
        return Verdict("unseen", is_unchanged=batch.steps == planned)

    async def _read_failure(self, batch: Batch, run: Run) -> Verdict:
        if batch.state == "RESOLVING":
            resolve = tuple(statement.step for statement in self._planner.resolve(batch))
            return Verdict("failed", error=explain(_name_step(resolve, run.failed_index), run.error))
        step = _name_step(batch.steps, run.failed_index)
        verdict = Verdict("failed", step=step, error=run.error)
        return await self._find_suspects(batch, run, verdict) if step == "copy" else verdict

    async def _find_suspects(self, batch: Batch, run: Run, verdict: Verdict) -> Verdict:
        """Add the batch's files that the warehouse blames; None while its load errors are still being asked for.

        Nothing depends on the answer: without it halving finds the files as well.
        """
        if read := find_file_read(run.error):
            return msgspec.structs.replace(verdict, suspects=_choose_members(batch, {read}))
        since = datetime.fromtimestamp(batch.began / 1000 - CLOCK_SLACK_SECONDS, UTC)
        sql = load_errors_sql(run.query_id, self._data_url, since)
        name = f"{name_attempt(batch)}/errors"
        try:
            statement_id = await self._warehouse.submit(sql, name=name, token=(name,))
            answer = await self._warehouse.describe(statement_id)
            if answer.state == "RUNNING" and not is_older(batch, RUN_LIMIT_SECONDS, self.now()):
                return msgspec.structs.replace(verdict, suspects=None)
            rows = await self._warehouse.rows(statement_id, 0) if answer.state == "FINISHED" else []
        except WarehouseError as error:
            return msgspec.structs.replace(verdict, suspects=None if error.transient else ())
        named = {name.rsplit("/", 1)[-1].split(".")[0] for name, *_ in rows}
        detail = describe_load_error(*rows[0]) if rows else ""
        return msgspec.structs.replace(verdict, detail=detail, suspects=_choose_members(batch, named))

    async def _read_verdict(self, batch: Batch) -> Verdict:
        steps = [statement.step for statement in self._planner.resolve(batch)]
        rows = await self._warehouse.rows(batch.statement_id, steps.index("verdict"))
        said = {row[0]: row[1] for row in rows}
        return Verdict("finished", loaded=said.get("loaded", ""), fenced=int(said["fenced"] or 0))

    def now(self) -> int:
        """Unix milliseconds."""
        return int(self._clock() * 1000)


def _of_one_source(files: Sequence[FileItem]) -> tuple[FileItem, ...]:
    """Keep the files of the source that the oldest one has, and those of exports; the others come later."""
    source = next((file.source for file in files if file.source), "")
    return tuple(file for file in files if file.source in {"", source})


def _choose_members(batch: Batch, named: set[str]) -> tuple[str, ...]:
    return tuple(file_id for file_id in batches.list_members(batch) if file_id in named)[:MAX_SUSPECTS]


async def _take(files: AsyncIterator[PendingFile], most: int) -> AsyncIterator[PendingFile]:
    count = 0
    async for file in files:
        yield file
        count += 1
        if count == most:
            return


async def _each(files: Iterable[PendingFile]) -> AsyncIterator[PendingFile]:
    for file in files:
        yield file


def _name_step(steps: Sequence[str], index: int) -> str:
    """Name the statement that failed; empty where the Data API names none."""
    return steps[index] if 0 <= index < len(steps) else ""
