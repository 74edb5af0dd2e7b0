"""The second story: files that wait on S3 are loaded into the warehouse, each exactly once.

A wake-up reads what is written in the ledger and takes one step; the next wake-up, here or in another process, takes
the next. No step needs memory of the one before, none is held by anybody, and every one may be repeated: whatever a
dead coordinator left, any other finishes. Whether a batch is loaded only the warehouse knows.

```
FORMED ─► SUBMITTING ─► SUBMITTED ─► LOADED
              ▲             │ failed, lost, or unknown
              │             ▼
            RETRY ◄──── RESOLVING ─► LOADED | SPLIT | QUARANTINED
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from fastetl import keys
from fastetl.errors import WarehouseError
from fastetl.load import batches
from fastetl.model import MAX_OPEN_BATCHES, Batch, Failure, FileItem, Head, Layout, PendingFile
from fastetl.sql import Load, Statement, load_errors_sql, load_sql, resolve_sql

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastetl.aws import Bucket, Ledger, Run, Warehouse
    from fastetl.config import Config, Pipeline

RUN_LIMIT_SECONDS = 2 * 3600
"""A transaction that runs or queues longer is cancelled and tried again; somebody may hold the gate's lock."""

RESUBMIT_LIMIT_SECONDS = 4 * 3600
"""The Data API remembers a client token for 8 hours: well before that, an attempt is resolved instead."""

FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS = 30, 3600

QUARANTINE_AFTER = 2
"""Failures of the data, of a file on its own, with another batch loaded in between."""

PAUSE_AFTER = 2
"""Other files that failed like this one, with nothing loaded in between: then it is probably not the data."""

PROBED_AMONG = 1000
"""Of so many waiting files the youngest is tried beside suspects."""

_RUNNING = {"SUBMITTING", "SUBMITTED", "RESOLVING"}

Action = Literal[
    "idle", "waiting", "opened", "submitted", "resolving", "loaded", "retry", "split", "quarantined", "dissolved",
]  # fmt: skip


class Step(msgspec.Struct, frozen=True):
    """What one wake-up did."""

    action: Action
    batch: Batch | None = None
    paused: str = ""
    """Why the pipeline was paused by this step, if it was."""

    @property
    def progressed(self) -> bool:
        """Whether another wake-up right away may do more."""
        return self.action not in {"idle", "waiting"}


class Waiting(msgspec.Struct, frozen=True):
    """What a pipeline has waiting, as the index shows it."""

    files: int
    bytes: int
    oldest_age_seconds: float
    more: bool
    """Whether there is more than was counted."""


class Loader:
    """Loads one pipeline. `clock` gives Unix seconds; `new_installation` a random name for a new ledger."""

    def __init__(
        self,
        config: Config,
        pipeline: Pipeline,
        bucket: Bucket,
        ledger: Ledger,
        warehouse: Warehouse,
        *,
        clock: Callable[[], float],
        new_installation: Callable[[], str],
    ) -> None:
        self._config = config
        self._pipeline = pipeline
        self._bucket = bucket
        self._ledger = ledger
        self._warehouse = warehouse
        self._clock = clock
        self._new_installation = new_installation
        self._layouts: dict[str, Layout] = {}

    async def wake_up(self) -> Step:
        """Take the one step that is due.

        Raises:
            StaleStepError: another coordinator took it first.
            LedgerError, StorageError, WarehouseError: try again with the next wake-up; nothing is lost.
        """
        head = await self._head()
        open_batches = [await self._ledger.batch(batch_id) for batch_id in head.open]
        for running in (batch for batch in open_batches if batch.state in _RUNNING):
            if (step := await self._follow(head, running, open_batches)).progressed:
                return step
        if any(batch.state in _RUNNING for batch in open_batches):
            return Step("waiting")
        due = self._due(head, open_batches)
        # A probe goes before retries: many suspects, each tried in its turn, would leave it no time.
        if due is None or (due.state == "RETRY" and self._is_probing(head, open_batches)):
            step = await self._open_next(head, open_batches)
            if due is None or step.progressed:
                return step
        return await self._start(head, due)

    async def waiting(self, most: int = 20_000) -> Waiting:
        """Count what waits to be loaded, up to `most` files."""
        files = size = oldest = 0
        async for file in self._ledger.pending(self._pipeline.name):
            if files == most:
                break
            oldest = oldest or file.created
            files, size = files + 1, size + file.bytes
        age = (self._now() - oldest) / 1000 if files else 0.0
        return Waiting(files, size, age, more=files == most)

    async def columns_left_null(self, batch: Batch) -> list[str]:
        """Name the columns of today's configuration that a batch's files, which are older, do not have."""
        if batch.layout_id == self._pipeline.layout.layout_id:
            return []
        there = dict((await self._layout(batch.layout_id)).columns)
        return [name for name, _ in self._pipeline.layout.columns if name not in there]

    # --- opening -------------------------------------------------------------------------------------------------

    async def _head(self) -> Head:
        head = await self._ledger.head(self._pipeline.name)
        return head or await self._ledger.create_head(self._pipeline.name, self._new_installation())

    async def _open_next(self, head: Head, open_batches: Sequence[Batch]) -> Step:
        # HEAD was read before the index: a batch that closes in between moves the generation, and the swap fails.
        if not self._may_open(head, open_batches):
            return Step("idle")
        candidates = await self._candidates(head, open_batches)
        found = await self._ledger.files([file.file_id for file in candidates])
        files = [found[file.file_id] for file in candidates if file.file_id in found]
        files = [file for file in files if file.state == "PENDING"]
        if not files:
            return Step("idle")
        batch = await self._describe_batch(head, files)
        await self._ledger.open_batches(head, [batch])
        return Step("opened", batch)

    def _may_open(self, head: Head, open_batches: Sequence[Batch]) -> bool:
        suspects_only = all(batch.data_failures for batch in open_batches)
        if head.paused_by == "operator" or not suspects_only:
            return False
        if self._is_probing(head, open_batches):
            return self._now() >= head.probe_at and len(open_batches) < MAX_OPEN_BATCHES
        return len(open_batches) < MAX_OPEN_BATCHES - 1

    def _is_probing(self, head: Head, open_batches: Sequence[Batch]) -> bool:
        """Tell whether files are tried alone: should one of the newer load, the suspects are to blame after all."""
        return bool(head.paused and open_batches)

    async def _candidates(self, head: Head, open_batches: Sequence[Batch]) -> list[PendingFile]:
        """The oldest waiting files of one layout, if a threshold is crossed; a younger one alone for a probe."""
        taken = {member.file_id for batch in open_batches for member in await self._members(batch)}
        policy = self._pipeline.load
        probes = self._is_probing(head, open_batches)
        most = PROBED_AMONG if probes else policy.max_files
        files: list[PendingFile] = []
        size = 0
        async for file in self._ledger.pending(self._pipeline.name):
            if file.file_id in taken or (files and file.layout_id != files[0].layout_id):
                continue
            files.append(file)
            size += file.bytes
            if len(files) == most:
                break
        if probes:
            return files[-1:]
        full = len(files) == policy.max_files or size >= policy.max_bytes
        old_enough = bool(files) and self._now() - files[0].created >= policy.max_age_seconds * 1000
        return files if full or old_enough or head.load_requested else []

    async def _describe_batch(self, head: Head, files: Sequence[FileItem], parent: str = "") -> Batch:
        """Put a batch's manifest and list of files on S3, and say what it is. Should nobody open it, they expire."""
        name, prefix = self._pipeline.name, self._config.prefix
        batch_id = batches.build_batch_id(name, head.installation, (file.file_id for file in files))
        object_keys = (keys.manifest_key(prefix, name, batch_id), keys.files_key(prefix, name, batch_id))
        batch = batches.build_batch(name, head.installation, files, self._config.bucket, object_keys)
        await self._bucket.replace(batch.manifest_key, batches.build_manifest(self._config.bucket, files))
        await self._bucket.replace(batch.files_key, batches.build_members(files))
        return msgspec.structs.replace(batch, parent=parent)

    # --- one attempt ---------------------------------------------------------------------------------------------

    def _due(self, head: Head, open_batches: Sequence[Batch]) -> Batch | None:
        """The batch to try next: newest first, so that a split is followed down before anything else; then retries."""
        if head.paused_by == "operator":
            return None
        formed = [batch for batch in open_batches if batch.state == "FORMED"]
        retries = [batch for batch in open_batches if batch.state == "RETRY" and batch.not_before <= self._now()]
        return formed[-1] if formed else min(retries, key=lambda batch: batch.not_before, default=None)

    async def _start(self, head: Head, batch: Batch) -> Step:
        planned = await self._load_sql(msgspec.structs.replace(batch, attempt=batch.attempt + 1))
        batch = await self._ledger.advance(
            batch,
            state="SUBMITTING",
            attempt=batch.attempt + 1,
            began=self._now(),
            resolves=0,
            loads_begun=head.loads,
            steps=tuple(statement.step for statement in planned),
            statement_id="",
            submitted_at=self._now(),
            failure="",
            suspects=(),
            error="",
        )
        return await self._submit(batch, planned)

    async def _load_sql(self, batch: Batch) -> tuple[Statement, ...]:
        load = Load(
            batch_id=batch.batch_id,
            attempt=batch.attempt,
            layout=await self._layout(batch.layout_id),
            manifest_url=f"s3://{self._config.bucket}/{batch.manifest_key}",
            manifest_checksum=batch.manifest_checksum,
            files_url=f"s3://{self._config.bucket}/{batch.files_key}",
            changed_min=batch.changed_min,
            changed_max=batch.changed_max,
        )
        return load_sql(self._pipeline, load)

    async def _submit(self, batch: Batch, planned: Sequence[Statement]) -> Step:
        token = batches.build_token(_name(batch))
        try:
            statement_id = await self._warehouse.submit(planned, name=_name(batch), token=token)
        except WarehouseError as error:
            if error.transient:
                return Step("waiting", batch)
            return await self._to_resolve(batch, "environment", str(error))
        batch = await self._ledger.advance(batch, state="SUBMITTED", statement_id=statement_id)
        return Step("submitted", batch)

    # --- what became of it ---------------------------------------------------------------------------------------

    async def _follow(self, head: Head, batch: Batch, open_batches: Sequence[Batch]) -> Step:
        match batch.state:
            case "SUBMITTING":
                return await self._submit_again(batch)
            case "SUBMITTED":
                return await self._check(head, batch)
            case _:
                return await self._resolve(head, batch, open_batches)

    async def _submit_again(self, batch: Batch) -> Step:
        """Somebody meant to submit, and perhaps did."""
        if statement_id := await self._warehouse.find(_name(batch)):
            return Step("submitted", await self._ledger.advance(batch, state="SUBMITTED", statement_id=statement_id))
        planned = await self._load_sql(batch)
        unchanged = batch.steps == tuple(statement.step for statement in planned)
        if unchanged and not self._older_than(batch, RESUBMIT_LIMIT_SECONDS):
            return await self._submit(batch, planned)
        return await self._to_resolve(batch, "transient", "never seen by the warehouse")

    async def _check(self, head: Head, batch: Batch) -> Step:
        run = await self._warehouse.describe(batch.statement_id)
        if run.state == "FINISHED":
            return await self._finish(head, batch, loads=head.loads + 1)
        if run.state == "RUNNING":
            return await self._wait(batch)
        step = batch.steps[run.failed_index] if 0 <= run.failed_index < len(batch.steps) else ""
        suspects = await self._blamed(batch, run) if step == "copy" else ()
        if suspects is None:
            return Step("waiting", batch)
        failure = batches.classify(step, run.error, named=bool(suspects))
        return await self._to_resolve(batch, failure, f"{step}: {run.error}" if step else run.error, suspects)

    async def _wait(self, batch: Batch) -> Step:
        if self._older_than(batch, RUN_LIMIT_SECONDS):
            await self._warehouse.cancel(batch.statement_id)
        return Step("waiting", batch)

    async def _blamed(self, batch: Batch, run: Run) -> tuple[str, ...] | None:
        """The batch's files that the warehouse's load errors name; None while they are still being asked for.

        Nothing depends on the answer: without it halving finds the files as well.
        """
        if not run.query_id:
            return ()
        asked = load_errors_sql(run.query_id)
        token = batches.build_token(_name(batch), "errors")
        statement_id = await self._warehouse.submit(asked, name=f"{_name(batch)}/errors", token=token)
        answer = await self._warehouse.describe(statement_id)
        if answer.state == "RUNNING" and not self._older_than(batch, RUN_LIMIT_SECONDS):
            return None
        if answer.state != "FINISHED":
            return ()
        named = {name.rsplit("/", 1)[-1].split(".")[0] for name, *_ in await self._warehouse.rows(statement_id, 0)}
        return tuple(member.file_id for member in await self._members(batch) if member.file_id in named)[:100]

    async def _to_resolve(self, batch: Batch, failure: Failure, error: str, suspects: tuple[str, ...] = ()) -> Step:
        batch = await self._ledger.advance(
            batch,
            state="RESOLVING",
            statement_id="",
            submitted_at=0,
            not_before=0,
            failure=failure,
            suspects=suspects,
            error=error[:500],
        )
        return Step("resolving", batch)

    # --- resolving -----------------------------------------------------------------------------------------------

    async def _resolve(self, head: Head, batch: Batch, open_batches: Sequence[Batch]) -> Step:
        """Settle in the warehouse how the attempt ended; until then nothing else is done with the batch."""
        if not batch.statement_id:
            return await self._ask_verdict(head, batch)
        run = await self._warehouse.describe(batch.statement_id)
        if run.state == "RUNNING":
            return await self._wait(batch)
        if run.state == "FINISHED":
            return await self._judge(head, batch, open_batches)
        if batches.is_environment(run.error):
            await self._pause(head, run.error)
        delay = _delay_seconds(batch.resolves)
        await self._ledger.advance(
            batch, resolves=batch.resolves + 1, statement_id="", not_before=self._now() + delay * 1000
        )
        return Step("resolving", batch)

    async def _ask_verdict(self, head: Head, batch: Batch) -> Step:
        if self._now() < batch.not_before:
            return Step("waiting", batch)
        token = batches.build_token(_name(batch), "resolve", batch.resolves)
        name = f"{_name(batch)}/resolve/{batch.resolves}"
        try:
            statement_id = await self._warehouse.submit(self._resolve_sql(batch), name=name, token=token)
        except WarehouseError as error:
            if not error.transient:
                await self._pause(head, str(error))
            return Step("waiting", batch)
        batch = await self._ledger.advance(batch, statement_id=statement_id, submitted_at=self._now())
        return Step("resolving", batch)

    def _resolve_sql(self, batch: Batch) -> tuple[Statement, ...]:
        files_url = f"s3://{self._config.bucket}/{batch.files_key}" if batch.failure == "files" else ""
        return resolve_sql(self._pipeline, batch.batch_id, batch.attempt, files_url)

    async def _judge(self, head: Head, batch: Batch, open_batches: Sequence[Batch]) -> Step:
        steps = [statement.step for statement in self._resolve_sql(batch)]
        rows = await self._warehouse.rows(batch.statement_id, steps.index("verdict"))
        verdict = {row[0]: row[1] for row in rows}
        if "loaded" in verdict:
            if verdict["loaded"] == batch.manifest_checksum:
                # When it was loaded is not known: it says nothing about files that failed meanwhile.
                return await self._finish(head, batch, loads=head.loads)
            head = await self._pause(head, f"batch {batch.batch_id} is loaded with other files than the ledger has")
        fenced = max(batch.attempt, int(verdict["fenced"] or 0))
        match batch.failure:
            case "files":
                elsewhere = await self._warehouse.rows(batch.statement_id, steps.index("verdict_files"))
                return await self._dissolve(head, batch, elsewhere)
            case "data":
                return await self._blame(head, batch, fenced, open_batches)
            case "environment":
                reason = batch.error
                await self._pause(head, reason)
                return await self._retry(batch, fenced, paused=reason)
            case _:
                return await self._retry(batch, fenced)

    async def _retry(self, batch: Batch, fenced: int, *, paused: str = "", **changes: int) -> Step:
        delay = 0 if batch.failure == "gate" else _delay_seconds(batch.failures)
        batch = await self._ledger.advance(
            batch,
            state="RETRY",
            attempt=fenced,
            failures=batch.failures + 1,
            not_before=self._now() + delay * 1000,
            **changes,
        )
        return Step("retry", batch, paused)

    # --- how a batch ends ----------------------------------------------------------------------------------------

    async def _finish(self, head: Head, batch: Batch, *, loads: int) -> Step:
        # First the files, then HEAD: the other way round a file would be in no batch and not yet loaded.
        members = await self._members(batch)
        await self._ledger.mark_loaded((member.file_id for member in members), batch.batch_id, now_ms=self._now())
        await self._ledger.close_batch(head, batch, "LOADED", loads=loads, last_load=self._now())
        return Step("loaded", batch)

    async def _dissolve(self, head: Head, batch: Batch, elsewhere: Sequence[tuple[str, ...]]) -> Step:
        """The ledger is younger than the warehouse: what is loaded already is marked so, the rest waits again."""
        for file_id, batch_id in elsewhere:
            await self._ledger.mark_loaded([file_id], batch_id, now_ms=self._now())
        await self._ledger.close_batch(head, batch, "SPLIT")
        return Step("dissolved", batch)

    async def _blame(self, head: Head, batch: Batch, fenced: int, open_batches: Sequence[Batch]) -> Step:
        """The data failed: part the batch, or settle what a single file deserves."""
        if batch.files > 1:
            return await self._split(head, batch)
        if head.paused and not batch.data_failures and len(open_batches) > 1:
            # A probe that fails beside suspects tells nothing new; its file waits again.
            await self._ledger.close_batch(head, batch, "SPLIT", probe_at=self._now() + LAST_DELAY_SECONDS * 1000)
            return Step("dissolved", batch)
        loads_seen = batch.loads_seen if batch.data_failures else head.loads
        failures = batch.data_failures + 1
        if failures >= QUARANTINE_AFTER and batch.loads_begun > loads_seen:
            for member in await self._members(batch):
                await self._ledger.mark_quarantined(member.file_id, batch.batch_id, batch.error)
            await self._ledger.close_batch(head, batch, "QUARANTINED")
            return Step("quarantined", batch)
        # Nothing else has loaded since it failed first: perhaps it is not the file's fault.
        alike = [
            other
            for other in open_batches
            if other.data_failures >= QUARANTINE_AFTER and other.loads_seen == head.loads
        ]
        hopeless = failures >= QUARANTINE_AFTER and len(alike) >= PAUSE_AFTER
        reason = f"every file that was tried alone failed: {batch.error}" if hopeless else ""
        if reason:
            await self._pause(head, reason)
        return await self._retry(batch, fenced, paused=reason, data_failures=failures, loads_seen=loads_seen)

    async def _split(self, head: Head, batch: Batch) -> Step:
        members = await self._members(batch)
        found = await self._ledger.files([member.file_id for member in members])
        files = [found[member.file_id] for member in members if member.file_id in found]
        parts = [
            await self._describe_batch(head, part, batch.batch_id) for part in batches.split(files, batch.suspects)
        ]
        # A full HEAD has no room for both: the second part waits again, in no batch, and is opened later.
        room = MAX_OPEN_BATCHES - len(head.open) + 1
        await self._ledger.open_batches(head, parts[: max(1, room - 1)], instead_of=batch)
        return Step("split", batch)

    async def _pause(self, head: Head, reason: str) -> Head:
        if head.paused:
            return head
        probe_at = self._now() + FIRST_DELAY_SECONDS * 1000
        return await self._ledger.change_head(head, paused=reason[:500], paused_by="fastetl", probe_at=probe_at)

    # --- small change --------------------------------------------------------------------------------------------

    async def _members(self, batch: Batch) -> list[batches.Member]:
        return batches.parse_members(await self._bucket.get(batch.files_key))

    async def _layout(self, layout_id: str) -> Layout:
        if layout_id not in self._layouts:
            body = await self._bucket.get(keys.layout_key(self._config.prefix, self._pipeline.name, layout_id))
            self._layouts[layout_id] = msgspec.json.decode(body, type=Layout)
        return self._layouts[layout_id]

    def _older_than(self, batch: Batch, seconds: int) -> bool:
        return bool(batch.submitted_at) and self._now() - batch.submitted_at > seconds * 1000

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _name(batch: Batch) -> str:
    """Name an attempt; by its time as well, since a ledger that was restored counts the same attempts again."""
    return f"{batch.batch_id}/{batch.attempt}/{batch.began}"


def _delay_seconds(failures: int) -> int:
    delay: int = FIRST_DELAY_SECONDS * 2 ** min(failures, 10)
    return min(delay, LAST_DELAY_SECONDS)
