"""Guards switched off, one at a time, by patching the product's code path: the simulation must notice each.

What is not in `MUTATIONS` and why:

- `DIRECTED` below: what they prevent needs a course of events that hardly any seed has. `test_second_lines.py` plays
  each with the guard and without it. Without most of them work is done twice or in vain, and the gate in the warehouse,
  which refuses files that are loaded, keeps the outcome exact; without the others it is wrong, or late.
- the gate's UPDATE: the simulation met two attempts with old snapshots too rarely. PostgreSQL shows it at will:
  `tests/local/warehouse/test_postgres_engine.py::test_the_gates_update_stops_what_read_before_the_lock`.
- `mandatory` in COPY's manifest, where a lost object is passed over: the row count per file refuses the load as well.
- the same client token for the same attempt: the gate refuses what ran already; the token only saves a second run.
- the epochs that files carry, and that newer changes which were loaded without one make it wait: ledger and warehouse
  are rarely both set back to before one, while files of it wait; `tests/load/test_epochs.py` shows both.
- `If-None-Match` on the file's object: a retry writes the same bytes, unless a deploy in between changed how they
  are written; `tests/ingest/test_ingester.py` shows that.
"""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any
from unittest.mock import patch

import msgspec
import polars as pl

from fastetl.aws.ledger.batches import Batches
from fastetl.aws.ledger.files import Files
from fastetl.aws.ledger.items import write_item
from fastetl.aws.ledger.pending import index_keys
from fastetl.aws.ledger.table import LedgerTable
from fastetl.aws.s3 import Bucket
from fastetl.backfill import backfiller
from fastetl.backfill.backfiller import Backfiller, Unfinished
from fastetl.backfill.lost_end import reopen_resync
from fastetl.config import Pipeline
from fastetl.decode import general as decode_general
from fastetl.decode import kinesis as decode_kinesis
from fastetl.decode import native as decode_native
from fastetl.errors import LedgerError
from fastetl.ingest.ingester import Ingest
from fastetl.load import batches, decide, failures, steps
from fastetl.load.epochs import Epochs
from fastetl.load.plan import Planner
from fastetl.load.rounds import Rounds
from fastetl.load.steps import Step, Steps
from fastetl.load.survey import Survey
from fastetl.operate.replay import FAILURES_PREFIX, replay_failures
from fastetl.operate.staged_rows import StagedRows
from fastetl.sql.epochs import latest_resync
from fastetl.sql.load import load_sql, resolve_sql
from fastetl.sql.resync import tombstone_sql
from fastetl.sql.tables import tables_sql
from fastetl.sql.text import Statement, quote_table

Mutation = Callable[[], AbstractContextManager[Any]]


def patch_everywhere(original: Any, changed: Any) -> AbstractContextManager[Any]:
    """Put something in the place of one of the product's functions, in every module that has imported it."""
    patches = ExitStack()
    for name, module in list(sys.modules.items()):
        if (
            name.startswith(("fastetl", "tests.simulation"))
            and name != __name__
            and getattr(module, original.__name__, None) is original
        ):
            patches.enter_context(patch.object(module, original.__name__, changed))
    return patches


LATE_SECONDS = 3000
"""Less than the hour between healthy changes in the time of calm, in which there would be no rest otherwise."""


def without_steps(*steps: str) -> Mutation:
    """Leave steps out of the transactions."""

    @contextmanager
    def mutate() -> Iterator[None]:
        with ExitStack() as patches:
            for original in (load_sql, resolve_sql, tombstone_sql):

                def left(*arguments: Any, _original: Any = original, **named: Any) -> Any:
                    return tuple(each for each in _original(*arguments, **named) if each.step not in steps)

                patches.enter_context(patch_everywhere(original, left))
            yield

    return mutate


def changed_sql(old: str, new: str, step: str = "") -> Mutation:
    """Write something else in the loads' SQL, or in those of its statements that are of one step."""
    original = load_sql

    def changed(*arguments: Any) -> Any:
        found = original(*arguments)
        own = [statement for statement in found if statement.step == step] if step else found
        assert not own or any(old in statement.sql for statement in own)
        return tuple(Statement(each.step, each.sql.replace(old, new)) for each in found)

    return lambda: patch_everywhere(original, changed)


def short_sighted_gate() -> AbstractContextManager[Any]:
    """The gate reads only what was written to the bookkeeping since the attempt began."""
    original = Planner.load

    async def load(self: Planner, batch: Any) -> Any:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(batch.began / 1000))
        found = await original(self, batch)
        return tuple(_with(each, sql=_SINCE.sub(f"'{since}' AS TIMESTAMP", each.sql)) for each in found)

    return patch.object(Planner, "load", load)


_SINCE = re.compile(r"'[^']*' AS TIMESTAMP")


def unpadded_versions() -> AbstractContextManager[Any]:
    """Sequence numbers compare as text."""

    def shortened(version: str) -> str:
        head, _, number = version.rpartition("#")
        return f"{head}#{number.lstrip('0')}"

    def with_short_versions(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.col("_version").map_elements(shortened, return_dtype=pl.String))

    native, one = decode_native.NativeRows.frame, decode_general.build_version
    patches = ExitStack()
    patches.enter_context(
        patch.object(decode_native.NativeRows, "frame", lambda *each: with_short_versions(native(*each)))
    )
    patches.enter_context(patch.object(decode_general, "build_version", lambda *each: shortened(one(*each))))
    return patches


def deletes_leave_no_tombstone() -> AbstractContextManager[Any]:
    """The mirror's deleted rows go at once."""
    original = load_sql

    def purging(pipeline: Any, planned: Any) -> Any:
        mirrors = (quote_table(part) for part in pipeline.targets if not part.rows_of)
        purges = (f"/* fastetl purge now */\nDELETE FROM {mirror} WHERE _deleted" for mirror in mirrors)
        return (*original(pipeline, planned), *(Statement("purge", sql) for sql in purges))

    return patch_everywhere(original, purging)


def index_believed() -> AbstractContextManager[Any]:
    """What the index shows is taken for waiting."""
    original = Files.read

    async def read(self: Files, file_ids: Any) -> Any:
        found = await original(self, file_ids)
        return {file_id: _with(item, state="PENDING") for file_id, item in found.items()}

    return patch.object(Files, "read", read)


def generation_ignored() -> AbstractContextManager[Any]:
    """HEAD is swapped whatever others have done since."""
    return _unconditional(lambda was: {name: value for name, value in was.items() if name != "generation"})


def steps_unconditional() -> AbstractContextManager[Any]:
    """A batch moves on whatever others have done since."""
    return _unconditional(lambda was: {} if "attempt" in was else was)


def _unconditional(kept: Callable[[dict[str, Any]], dict[str, Any]]) -> AbstractContextManager[Any]:
    original = LedgerTable.writing

    def writing(self: LedgerTable, pk: str, changes: Any, **how: Any) -> Any:
        if was := how.get("only_if"):
            how["only_if"] = kept(dict(was))
        return original(self, pk, changes, **how)

    return patch.object(LedgerTable, "writing", writing)


def head_lets_go_first() -> AbstractContextManager[Any]:
    """A loaded batch leaves HEAD before its files are marked."""

    async def mark(self: Steps, head: Any, batch: Any, decision: Any) -> Step:
        await self._ledger.batches.close(head, batch, "LOADED", now_ms=self._now(), **decision.head_changes)
        await self._mark_loaded(dict.fromkeys(batches.list_members(batch), batch.batch_id))
        return Step("loaded", batch)

    return patch.dict(Steps._of_batch, mark=mark)


def counted_before_marked() -> AbstractContextManager[Any]:
    """How far marking has come is noted before the files are marked."""
    original = Steps._mark_some

    async def mark_some(self: Steps, batch: Any, files: Any, mark: Any) -> Any:
        async def nothing(_files: Any) -> None:
            return

        further = await original(self, batch, files, nothing)
        await original(self, batch, files, mark) if further is None else await mark(
            {file_id: files[file_id] for file_id in files if batch.marked_to < file_id <= further.marked_to}
        )
        return further

    return patch.object(Steps, "_mark_some", mark_some)


def marked_at_once() -> AbstractContextManager[Any]:
    """All files of a batch are marked in one step, however many there are."""
    return patch.object(steps, "MARKED_AT_ONCE", 10**9)


def head_read_after_files() -> AbstractContextManager[Any]:
    """The generation that guards a new batch is read after the files that go into it."""
    original = Batches.open

    async def open_batches(self: Batches, head: Any, opened: Any, *, now_ms: int, instead_of: Any = None) -> Any:
        fresh = await self.head(head.pipeline) if instead_of is None else head
        return await original(self, fresh or head, opened, now_ms=now_ms, instead_of=instead_of)

    return patch.object(Batches, "open", open_batches)


def counted_batches() -> AbstractContextManager[Any]:
    """Batches are numbered by the ledger, not named by their files."""
    take, stage, named = Steps.take, Planner.stage, batches.build_batch_id
    generation, number = ContextVar("generation", default=0), ContextVar("number", default="")

    async def counting(self: Steps, head: Any, decision: Any) -> Step:
        generation.set(head.generation)
        return await take(self, head, decision)

    async def numbered(self: Planner, installation: str, files: Any, *, parent: str = "") -> Any:
        number.set(f"{files[0].pipeline} {generation.get()} {parent} {files[0].file_id if parent else ''}")
        return await stage(self, installation, files, parent=parent)

    def name(*files: Any) -> str:
        if not number.get():
            return named(*files)
        return hashlib.blake2b(number.get().encode(), digest_size=16).hexdigest()

    patches = ExitStack()
    patches.enter_context(patch.object(batches, "build_batch_id", name))
    patches.enter_context(patch.object(Steps, "take", counting))
    patches.enter_context(patch.object(Planner, "stage", numbered))
    return patches


def shared_bookkeeping() -> AbstractContextManager[Any]:
    """All pipelines write into the same tables of files and batches."""
    original = quote_table

    def shared(pipeline: Any, suffix: str = "") -> str:
        return '"public"."shared' + suffix + '"' if suffix in {"_loads", "_load_files"} else original(pipeline, suffix)

    return patch_everywhere(original, shared)


def failure_believed() -> AbstractContextManager[Any]:
    """An attempt that is reported as failed is tried again at once, without a fence and a verdict."""

    original = decide._end_attempt

    def end(head: Any, batch: Any, verdict: Any, now: int) -> Any:
        decided = original(head, batch, verdict, now)
        return decide._retry(batch, decide.Verdict("finished"), now) if decided.action == "resolve" else decided

    return patch.object(decide, "_end_attempt", end)


def failure_settles() -> AbstractContextManager[Any]:
    """A file whose data failed goes into quarantine without asking the warehouse how the attempt ended."""
    original = decide._end_attempt

    def end(head: Any, batch: Any, verdict: Any, now: int) -> Any:
        decided = original(head, batch, verdict, now)
        alone = decided.action == "resolve" and batch.files == 1
        return decide.Decision("quarantine", batch) if alone else decided

    return patch.object(decide, "_end_attempt", end)


def unpersisted_resolves() -> AbstractContextManager[Any]:
    """Every wake-up asks for a verdict of its own."""
    original = Steps._ask_verdict

    async def ask(self: Steps, head: Any, batch: Any, decision: Any) -> Step:
        await original(self, head, batch, decision)
        fresh = await self._ledger.batches.read(batch.batch_id)
        if fresh.state == "RESOLVING":
            await self._ledger.batches.advance(fresh, statement_id="", resolves=fresh.resolves + 1)
        return Step("waiting", batch)

    return patch.dict(Steps._of_batch, ask=ask)


def registered_again() -> AbstractContextManager[Any]:
    """A FILE item is written whether or not there is one."""

    async def register(self: Files, item: Any, **_: Any) -> Any:
        row = {"pk": f"F#{item.file_id}", **msgspec.to_builtins(item)}
        if item.state == "PENDING":
            row |= index_keys(item)
        await self._table.call("put_item", Item=write_item(row))
        return item

    return patch.object(Files, "register", register)


def acknowledged_early() -> AbstractContextManager[Any]:
    """An invocation succeeds although the ledger could not be written."""
    original = Ingest._store

    async def register(self: Ingest, *arguments: Any) -> Any:
        try:
            return await original(self, *arguments)
        except LedgerError:
            return None

    return patch.object(Ingest, "_store", register)


def quarantined_without_comparison() -> AbstractContextManager[Any]:
    """Two failures of the data suffice for quarantine, whether or not anything else has loaded."""
    original = decide._blame

    def blame(head: Any, open_batches: Any, batch: Any, verdict: Any, now: int) -> Any:
        return original(head, open_batches, _with(batch, loads_begun=head.loads + 1), verdict, now)

    return patch.object(decide, "_blame", blame)


def no_probe() -> AbstractContextManager[Any]:
    """A pipeline that paused because of suspects tries nothing beside them."""
    original = decide.looks_for_files

    def looks_for_files(head: Any, open_batches: Any, now: int) -> bool:
        return not (head.paused and open_batches) and original(head, open_batches, now)

    return patch_everywhere(original, looks_for_files)


def loads_late() -> AbstractContextManager[Any]:
    """Files wait for most of an hour, whatever `max_age` says."""
    original = Survey.find_waiting

    async def find_waiting(self: Survey, *arguments: Any) -> Any:
        found = await original(self, *arguments)
        late = self.now() - LATE_SECONDS * 1000
        return _with(found, files=tuple(file for file in found.files if file.created < late))

    return patch.object(Survey, "find_waiting", find_waiting)


def retries_before_probes() -> AbstractContextManager[Any]:
    """While any suspect may be tried again, no probe is begun."""
    original = decide.looks_for_files

    def looks_for_files(head: Any, open_batches: Any, now: int) -> bool:
        return decide.find_due(head, open_batches, now) is None and original(head, open_batches, now)

    return patch_everywhere(original, looks_for_files)


def environment_taken_for_data() -> AbstractContextManager[Any]:
    """Whatever makes COPY fail is the data's fault, and one failure suffices."""
    patches = ExitStack()
    patches.enter_context(patch.object(decide, "classify", lambda *_, **__: "data"))
    patches.enter_context(patch.object(decide, "QUARANTINE_AFTER", 1))
    patches.enter_context(quarantined_without_comparison())
    return patches


def _with(item: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(item, **changes)


def without_tombstones() -> AbstractContextManager[Any]:
    """A resync leaves rows that the table no longer has."""
    original = tombstone_sql

    def left(*arguments: Any, **named: Any) -> Any:
        return tuple(each for each in original(*arguments, **named) if each.step not in {"log", "tombstones"})

    return patch_everywhere(original, left)


def manifests_written_once() -> AbstractContextManager[Any]:
    """What COPY reads of a batch is written when the batch is opened, and not again."""

    async def keep(_self: Planner, _batch: Any) -> dict[str, Any]:
        return {}

    return patch.object(Planner, "keep", keep)


def archive_not_known() -> AbstractContextManager[Any]:
    """That an object is in an archive is a failure of which nobody knows anything."""
    return patch.object(failures, "_ARCHIVED", re.compile("$^"))


def lost_epochs_are_none() -> AbstractContextManager[Any]:
    """Where neither HEAD nor the warehouse knows an epoch, none has begun, whatever the mirror's rows carry."""

    return patch.object(Epochs, "_refuse_lost_epochs", lambda *_: None)


def every_epoch_resyncs() -> AbstractContextManager[Any]:
    """Whatever an epoch began for, rows of older ones that its export does not have are deleted."""
    original = Backfiller.finish

    async def finish(self: Backfiller, backfill: Any, **how: Any) -> Any:
        return await original(self, _with(backfill, resync=True), **how)

    return patch.object(Backfiller, "finish", finish)


def any_epoch_orders() -> AbstractContextManager[Any]:
    """Changes of another source are loaded once any epoch has begun, of a repair for example."""
    return patch("fastetl.sql.load.latest_resync", lambda pipeline: latest_resync(pipeline).partition(" WHERE ")[0])


def impatient_resync() -> AbstractContextManager[Any]:
    """A resync deletes before everything older is loaded."""

    async def unfinished(_self: Backfiller, _backfill: Any) -> Unfinished:
        return Unfinished(0, 0, 0, 0)

    return patch.multiple(Backfiller, unfinished=unfinished, _find_waiting=unfinished)


def repair_of_the_next_epoch() -> AbstractContextManager[Any]:
    """What a repair carries over is newer than every change that follows."""
    original = StagedRows.put_found

    async def put_found(self: StagedRows, arn: str, found: Any, *, read_at: int, epoch: Any) -> None:
        await original(self, arn, found, read_at=read_at, epoch=_with(epoch, epoch=epoch.epoch + 1))

    return patch.object(StagedRows, "put_found", put_found)


def lost_end_forgotten() -> AbstractContextManager[Any]:
    """A ledger is rebuilt that takes a resync for ended which the warehouse has lost."""

    async def none(_deployment: Any) -> None:
        return None

    return patch_everywhere(reopen_resync, none)


def epoch_at_once() -> AbstractContextManager[Any]:
    """An epoch begins before every ingest has heard of it."""
    return patch.multiple(backfiller, EPOCH_LEAD_SECONDS=0, EPOCHS_KEPT_SECONDS=-1_000_000)


def export_at_once() -> AbstractContextManager[Any]:
    """An export is taken as soon as its epoch begins, which is at once."""
    return patch.multiple(backfiller, EPOCH_LEAD_SECONDS=0, EPOCHS_KEPT_SECONDS=-1_000_000, CLOCK_SLACK_SECONDS=0)


def neighbour_stopped() -> AbstractContextManager[Any]:
    """What one pipeline's ledger fails with ends the wake-up of all."""
    original = Rounds._read

    async def read(self: Rounds, name: str, moved: Any, seconds: float) -> Any:
        found = await original(self, name, moved, seconds)
        if moved.error:
            raise moved.error
        return found

    return patch.object(Rounds, "_read", read)


def moved_items_leave_no_tombstone() -> AbstractContextManager[Any]:
    """Each target has only its own rows, as if no item could move from one to another."""
    return patch.object(Pipeline, "keys_decide", property(lambda _: True))


def no_epochs_recovered() -> AbstractContextManager[Any]:
    """HEAD is made as if no epoch had ever begun."""

    original = Epochs._adopt

    async def adopt(self: Epochs, head: Any, **how: Any) -> Any:
        if head is not None:
            return await original(self, head, **how)
        name = self._pipeline.name
        return await self._ledger.batches.create_head(name, self._new_name(), stack=self._owner, epochs=())

    return patch.object(Epochs, "_adopt", adopt)


def replays_forget_failures() -> AbstractContextManager[Any]:
    """An event that Lambda gave up on is deleted although it could not be ingested."""
    original = replay_failures

    async def replay(config: Any, bucket: Any, ingest_for: Any) -> Any:
        kept = [key async for key in bucket.list_keys(FAILURES_PREFIX)]
        found = await original(config, bucket, ingest_for)
        for key in kept:
            await bucket.delete(key)
        return found

    return patch_everywhere(original, replay)


def rejects_replayed_under_their_name() -> AbstractContextManager[Any]:
    """Rejects that are replayed go under the name of the event that they came with."""
    original = Ingest.ingest

    async def ingest(self: Ingest, event: Any, **_: Any) -> Any:
        return await original(self, event)

    return patch.object(Ingest, "ingest", ingest)


def restored_warehouse_believed() -> AbstractContextManager[Any]:
    """A rebuilt ledger goes on saying that files are loaded which the warehouse, set back, has not."""

    async def requeue(_self: Files, _item: Any, *_beside: Any) -> None:
        return

    return patch.object(Files, "requeue", requeue)


def todays_layout() -> AbstractContextManager[Any]:
    """Every file is read as today's configuration would write it."""
    original = Planner.layout

    async def layout(self: Planner, layout_id: str) -> Any:
        await original(self, layout_id)
        return self._pipeline.layout

    return patch.object(Planner, "layout", layout)


def manifests_expire() -> AbstractContextManager[Any]:
    """What an open batch needs is read from S3, and missed there once the lifecycle has deleted it."""

    async def keep(_self: Planner, _batch: Any) -> dict[str, Any]:
        return {}

    return patch.object(Planner, "keep", keep)


def milliseconds_order() -> AbstractContextManager[Any]:
    """Changes of Kinesis are ordered by the second in which they came."""
    original = decode_kinesis._number

    def number(change: dict[str, Any]) -> None:
        original(change)
        body = change["dynamodb"]
        if "SequenceNumber" in body:
            body["SequenceNumber"] = body["SequenceNumber"][:11] + "0" * 6 + body["SequenceNumber"][17:]

    return patch.object(decode_kinesis, "_number", number)


def other_tables_taken() -> AbstractContextManager[Any]:
    """Every record of a Kinesis stream is taken for the pipeline's own table's."""
    original = decode_kinesis._name
    table: ContextVar[str] = ContextVar("table", default="")
    unwrap = decode_kinesis.unwrap

    def name(change: dict[str, Any]) -> str:
        return table.get() if original(change) else ""

    def unwrapped(event: Any, own: str, **how: Any) -> Any:
        table.set(own)
        return unwrap(event, own, **how)

    patches = ExitStack()
    patches.enter_context(patch.object(decode_kinesis, "_name", name))
    patches.enter_context(patch_everywhere(unwrap, unwrapped))
    return patches


def objects_of_others_deleted() -> AbstractContextManager[Any]:
    """An object that was there before is taken for this attempt's own."""
    original = Bucket.put

    async def put(self: Bucket, *arguments: Any, **how: Any) -> Any:
        return _with(await original(self, *arguments, **how), created=True)

    return patch.object(Bucket, "put", put)


def mended_gate_is_nobodys() -> AbstractContextManager[Any]:
    """A gate that gets its row again belongs to whichever stack writes next."""
    original = tables_sql
    return patch_everywhere(original, lambda pipeline, _owner="": original(pipeline))


class Guard(msgspec.Struct, frozen=True):
    """A guard, switched off by `without`, and the invariants of which one is violated then."""

    without: Mutation
    shows: frozenset[str]
    duckdb: bool = False
    """Whether the product's SQL must run for it: the fake warehouse does not read all of it."""


def _shows(invariants: str, without: Mutation, *, duckdb: bool = False) -> Guard:
    return Guard(without, frozenset(invariants.split()), duckdb)


MUTATIONS: dict[str, Guard] = {
    "sequence numbers compared as text": _shows("I4", unpadded_versions),
    "no tombstones": _shows("I4", deletes_leave_no_tombstone),
    "mirror overwritten by older versions": _shows(
        "I4", changed_sql('"mirror"."_version" <', '"mirror"."_version" !=')
    ),
    "no tombstone in the old target": _shows("I4", moved_items_leave_no_tombstone),
    "children of older versions stay": _shows("I4", without_steps("elements_gone")),
    "children not replaced as a whole": _shows(
        "I4",
        changed_sql(
            'WHERE "_key" IN (SELECT "_key" FROM "fastetl_won_1")',
            'WHERE "_key" IN (SELECT "_key" FROM "fastetl_won_1") AND "_position" < (SELECT COUNT(*)'
            ' FROM "fastetl_staged" WHERE "_target" = \'lines\')',
            "elements_gone",
        ),
    ),
    "children of versions that lose": _shows(
        "I4", changed_sql(' AND "staged"."_version" = "won"."_version"', "", "elements")
    ),
    "no gate for batches and files": _shows("I3", without_steps("gate_batch", "gate_files")),
    "a gate that looks back no further than its own attempt": _shows("I3", short_sighted_gate),
    "no gate for files": _shows("I3", without_steps("gate_files")),
    "no row count per file": _shows("I4", without_steps("count")),
    "bookkeeping shared between pipelines": _shows("I3", shared_bookkeeping),
    "a reported failure believed": _shows("I7", failure_believed),
    "quarantine without a verdict": _shows("I6", failure_settles),
    "resolves not persisted": _shows("I7", unpersisted_resolves),
    "files registered again": _shows("I6", registered_again),
    "acknowledged before the ledger has it": _shows("I1 I8", acknowledged_early),
    "quarantine without comparison": _shows("I6", quarantined_without_comparison),
    "infrastructure taken for data": _shows("I6", environment_taken_for_data),
    "files left waiting": _shows("I9", loads_late),
    "no probe beside suspects": _shows("I7", no_probe),
    "nothing deleted by a resync": _shows("I4", without_tombstones),
    "a resync that does not wait": _shows("I4", impatient_resync),
    "a repair newer than what follows": _shows("I4", repair_of_the_next_epoch),
    "an export taken at once": _shows("I10", export_at_once),
    "changes stamped too early are loaded": _shows("I4", without_steps("stamps")),
    "a resync that the warehouse lost taken for ended": _shows("I4", lost_end_forgotten),
    "a resync ends in a warehouse that was set back": _shows("I4", without_steps("set_back")),
    "HEAD made without epochs": _shows("I10", no_epochs_recovered),
    "a former owner loads on": _shows("I11", without_steps("gate_row")),
    "former columns stay": _shows("I4", without_steps("former_columns")),
    "a broken pipeline stops its neighbour": _shows("errors", neighbour_stopped),
    "events that were given up deleted unread": _shows("I1", replays_forget_failures),
    "rejects replayed under their old name": _shows("I1", rejects_replayed_under_their_name),
    "a ledger that believes a warehouse set back": _shows("I4", restored_warehouse_believed),
    "values of deleted items kept": _shows("I4", changed_sql("THEN NULL ELSE", 'THEN "ranked"."_op" ELSE')),
    "files read by today's layout": _shows("I6", todays_layout),
    "manifests left to the lifecycle": _shows("I7", manifests_expire),
    "changes of Kinesis ordered by the second": _shows("I4", milliseconds_order),
    "other tables' changes taken": _shows("I3", other_tables_taken),
    "objects of another stack deleted": _shows("I8", objects_of_others_deleted),
    "a mended gate belongs to nobody": _shows("I11", mended_gate_is_nobodys),
    "events logged again": _shows("I4", changed_sql(' AND "logged"."logged_id" IS NULL', "", "log"), duckdb=True),
}

DIRECTED: dict[str, Mutation] = {
    "an epoch that begins at once": epoch_at_once,
    "suspects tried again before a probe": retries_before_probes,
    "no fence": without_steps("gate_fence"),
    "batch ids from a counter": counted_batches,
    "index believed": index_believed,
    "generation ignored": generation_ignored,
    "steps of a batch unconditional": steps_unconditional,
    "HEAD lets go before the files are marked": head_lets_go_first,
    "marking counted before it is done": counted_before_marked,
    "all files marked in one step": marked_at_once,
    "HEAD read after the files": head_read_after_files,
    "manifests written once": manifests_written_once,
    "an archive taken for a failure like any other": archive_not_known,
    "labels order two sources": without_steps("gate_source"),
    "an epoch that only reorders deletes": every_epoch_resyncs,
    "any epoch orders two sources": any_epoch_orders,
    "lost epochs taken for none": lost_epochs_are_none,
}
