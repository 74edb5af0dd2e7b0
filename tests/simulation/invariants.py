"""What must hold, whatever happens: I1 to I9 of the protocol, as the run goes and when it has come to rest.

Everything is held against what really changed (`source.py`), never against what the product says about itself.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

from fastetl.config import FileFormat
from fastetl.sql.text import quote_table
from tests.simulation.source import read_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from fastetl.config.model import Pipeline
    from tests.simulation.expressions import Item
    from tests.simulation.fake_s3 import FakeS3
    from tests.simulation.fake_warehouse import FakeWarehouse
    from tests.simulation.source import Change, SourceTable

_ENDS = {"PENDING": {"PENDING", "LOADED", "QUARANTINED"}, "QUARANTINED": {"QUARANTINED", "PENDING", "DROPPED"}}
"""Where a file's state may go; what is not named here stays as it is."""


class Invariants:
    """Collects violations. `watch_item` sees every write of the ledger, `watch_commit` every commit."""

    def __init__(self, pipelines: list[Pipeline], s3: FakeS3, warehouse: FakeWarehouse, bucket: str) -> None:
        self.violations: list[str] = []
        self._pipelines = {pipeline.name: pipeline for pipeline in pipelines}
        self._s3 = s3
        self._warehouse = warehouse
        self._bucket = bucket
        self.broken: set[str] = set()
        """Keys of objects that were lost or spoilt."""
        self.unsure: dict[frozenset[str], frozenset[str]] = {}
        """Events of invocations that did not end well, or that a ledger has forgotten since, and those that are rows
        whatever the columns are just then: it may lack their files."""
        self.sources: dict[str, SourceTable] = {}
        """What is carried, by the pipeline's name."""
        self.former: Collection[str] = ()
        """Keys of the ledger of a stack whose target another one has taken over; empty before."""
        self.set_back = False
        """Whether a snapshot has just made a former stack the owner again, and nobody has taken the target over yet."""
        self.items: Callable[[], Mapping[str, Item]] = dict
        """Gives the items of the ledger, by their keys."""
        self._loads: set[str] = set()
        self._seen_events: dict[str, frozenset[str]] = {}
        self._seen_rows: dict[str, int] = {}
        self.meddled: set[str] = set()
        """Pipelines of which a person took the warehouse's bookkeeping, if only until the ledger is rebuilt."""
        self.may_lack_log = False
        """Whether the log has left the configuration, if only for some time."""
        self.may_lack_quantity = False
        """Whether the column `quantity` has left the configuration, if only for some time."""

    def violated(self, invariant: str, what: str) -> None:
        """Note a violation."""
        self.violations.append(f"{invariant}: {what}")

    # --- as the run goes -----------------------------------------------------------------------------------------

    def watch_item(self, was: Item | None, now: Item) -> None:
        """After a write of the ledger."""
        pk = now["pk"]["S"]
        match pk[:2]:
            case "F#":
                self._watch_file(pk[2:], was, now)
            case "P#":
                self._never_falls(pk, "generation", was, now)
            case "B#":
                self._never_falls(pk, "attempt", was, now)

    def _watch_file(self, file_id: str, was: Item | None, now: Item) -> None:
        state, before = now["state"]["S"], was["state"]["S"] if was else ""
        meddled = now["pipeline"]["S"] in self.meddled
        ends = _ENDS.get(before, {before}) | ({"PENDING"} if meddled else set())
        if before and state not in ends:
            self.violated("I6", f"file {file_id} went from {before} to {state}")
        if state == before:
            return
        loaded = file_id in {row["file_id"] for row in self._rows(now["pipeline"]["S"], "_load_files")}
        if state == "LOADED" and not loaded and not meddled:
            self.violated("I2", f"file {file_id} is said to be loaded and is not")
        if state == "QUARANTINED" and loaded:
            self.violated("I6", f"file {file_id} is loaded and put into quarantine")

    def _never_falls(self, pk: str, name: str, was: Item | None, now: Item) -> None:
        if was and int(now[name]["N"]) < int(was[name]["N"]):
            self.violated("I5", f"{name} of {pk} fell from {was[name]['N']} to {now[name]['N']}")

    def watch_commit(self, warehouse: FakeWarehouse) -> None:
        """After a commit of the warehouse."""
        for pipeline in self._pipelines.values():
            self._once(pipeline, "_load_files", "file_id", "I3")
            self._once(pipeline, "_loads", "batch_id", "I3")
            for part in pipeline.targets:
                if "log" in part.outputs:
                    self._once(part, "_log", "_event_id", "I4")
                if not part.rows_of:
                    self._once(part, "", "_key", "I4")
            # What a person did is mended later, and only then are files and tables of one mind again.
            may_agree = pipeline.name not in self.meddled and pipeline.name in self.sources
            if pipeline.parts and may_agree and not self.sources[pipeline.name].has_gap:
                files = {pk[2:]: item for pk, item in self.items().items() if pk.startswith("F#")}
                self._check_warehouse(self.sources[pipeline.name], files)
            self._check_owner(pipeline)
        for table, times in warehouse.conflicts.items():
            if not table.endswith('_gate"') and table not in warehouse.meddled:
                self.violated("I0", f"{times} transactions of different batches met in table {table}")

    def _check_owner(self, pipeline: Pipeline) -> None:
        """A stack that no longer owns the target commits nothing."""
        loads = {row["batch_id"] for row in self._rows(pipeline.name, "_loads")}
        for batch_id in loads - self._loads if not self.set_back else ():
            if f"B#{batch_id}" in self.former and f"B#{batch_id}" not in self.items():
                self.violated("I11", f"batch {batch_id} of a former owner was loaded into {pipeline.target}")
        self._loads |= loads

    def _once(self, pipeline: Pipeline, suffix: str, column: str, invariant: str) -> None:
        values = [row[column] for row in self._warehouse.rows(quote_table(pipeline, suffix))]
        if len(values) != len(set(values)):
            twice = next(value for value in values if values.count(value) > 1)
            self.violated(invariant, f"{column} {twice} is in {pipeline.target}{suffix} more than once")

    # --- at rest -------------------------------------------------------------------------------------------------

    def check_at_rest(self, items: dict[str, Item], sources: list[SourceTable], acknowledged: set[str]) -> None:
        """When everything has ended that can."""
        files = {pk[2:]: item for pk, item in items.items() if pk.startswith("F#")}
        self._check_objects(files)
        if self.violations:
            return  # of an object that is gone nobody knows what it held
        # A pipeline that breaks may not have come to its end: a ledger that was set back lacks what it had.
        self._check_acknowledged(files, {each for each in acknowledged if any(each in s.changes for s in sources)})
        for source in sources:
            self._check_loaded(source.pipeline, files)
            self._check_quarantine(source, files)
            self._check_warehouse(source, files)

    def _check_quarantine(self, source: SourceTable, files: dict[str, Item]) -> None:
        for file_id, item in files.items():
            if item["state"]["S"] != "QUARANTINED" or item["pipeline"]["S"] != source.pipeline.name:
                continue
            key = item["key"]["S"]
            changes = [source.changes[each] for each in self.events_of(key) if each in source.changes]
            if key not in self.broken and not any(change.unloadable for change in changes):
                self.violated("I6", f"file {file_id} is in quarantine, and nothing is wrong with it")

    def _check_acknowledged(self, files: dict[str, Item], acknowledged: set[str]) -> None:
        kept: set[str] = set(self._rejected())
        # The ledger forgets a loaded file after some months; the warehouse does not.
        for key in {item["key"]["S"] for item in files.values()} | self._loaded_keys():
            if key:
                kept |= self.events_of(key)
        if lost := acknowledged - kept:
            self.violated("I1", f"{len(lost)} acknowledged changes are in no file and no reject: {sorted(lost)[:3]}")

    def _check_objects(self, files: dict[str, Item]) -> None:
        """Hold objects and FILE items against each other."""
        named = {item["key"]["S"] for item in files.values()} - {""}
        forgotten = self._loaded_keys()
        known = files.keys() | {_file_id(key) for key in forgotten}
        there = {key for _, key in self._s3.objects if key.startswith("data/")}
        for key in there - named - forgotten:
            # What such an object holds is delivered again, perhaps cut differently and under another name. An attempt
            # after a deploy may have written the same file under another name. A ledger that was set back may know it
            # as rejected: it was a row while the column was away.
            if not self.is_unsure(key) and _file_id(key) not in known:
                self.violated("I8", f"object {key} has no file in the ledger")
        for key in named - there - self.broken:
            self.violated("I8", f"the ledger names object {key}, which is not there")

    def is_unsure(self, key: str) -> bool:
        """Whether an object was written by an invocation of which the ledger need not know."""
        found = self.events_of(key)
        return any(rows <= found <= events for events, rows in self.unsure.items())

    def check_staleness(self, source: SourceTable, since: float, bound: float) -> None:
        """Hold the time from each healthy change after `since` to its load against a bound."""
        loaded_at: dict[str, float] = {}
        keys = self._keys_by_file()
        for row in self._rows(source.pipeline.name, "_load_files"):
            for event_id in self.events_of(keys[row["file_id"]]):
                loaded_at[event_id] = min(row["loaded_at"], loaded_at.get(event_id, row["loaded_at"]))
        for change in source.changes.values():
            if change.created_at >= since and change.event_id in loaded_at:
                waited = loaded_at[change.event_id] - change.created_at
                if waited > bound:
                    self.violated("I9", f"change {change.event_id} was loaded after {waited:,.0f} s, not {bound:,.0f}")

    def _loaded_keys(self) -> set[str]:
        keys = self._keys_by_file()
        loaded = {row["file_id"] for name in self._pipelines for row in self._rows(name, "_load_files")}
        return {keys[file_id] for file_id in loaded & keys.keys()}

    def _keys_by_file(self) -> dict[str, str]:
        keys = {key for _, key in self._all_objects() if key.startswith("data/")}
        # An attempt after a deploy may have written the same file under another name: loads take what the ledger names.
        named = {item["key"]["S"] for pk, item in self.items().items() if pk.startswith("F#")}
        alike: dict[str, list[str]] = {}
        for key in (*sorted(keys - named), *sorted(keys & named)):
            alike.setdefault(_file_id(key), []).append(key)
        loaded = {
            row["file_id"]: row["row_count"] for name in self._pipelines for row in self._rows(name, "_load_files")
        }
        return {file_id: self._choose(found, loaded.get(file_id)) for file_id, found in alike.items()}

    def _choose(self, keys: list[str], loaded_rows: int | None) -> str:
        """The last of some keys; of those with as many rows as were loaded, where another stack's ledger named one."""
        fitting = [key for key in keys if len(keys) > 1 and self._rows_of(key) == loaded_rows]
        return (fitting or keys)[-1]

    def _rows_of(self, key: str) -> int:
        self.events_of(key)
        return self._seen_rows[key]

    def _rejected(self) -> Iterator[str]:
        for (_, key), stored in self._s3.objects.items():
            if "/rejects/" in f"/{key}":
                for line in gzip.decompress(stored.content).splitlines():
                    yield json.loads(line)["event_id"]

    def _check_loaded(self, pipeline: Pipeline, files: dict[str, Item]) -> None:
        loaded = {row["file_id"] for row in self._rows(pipeline.name, "_load_files")}
        for file_id, item in files.items():
            if item["pipeline"]["S"] != pipeline.name:
                continue
            state = item["state"]["S"]
            if state == "REJECTED" and self.may_lack_quantity:
                continue  # as above
            if state == "LOADED" and pipeline.name in self.meddled:
                continue  # its batch may be known as loaded, and its own row be gone
            if (state == "LOADED") != (file_id in loaded):
                self.violated("I2", f"file {file_id} is {state}, and load_files says {file_id in loaded}")

    def _check_warehouse(self, source: SourceTable, files: dict[str, Item]) -> None:
        pipeline = source.pipeline
        keys = self._keys_by_file()
        events: set[str] = set()
        for file_id in self._loaded_files(pipeline.name, files):
            events |= self.events_of(keys[file_id])
        exported = {event_id for event_id in events if ":" in event_id} if source.has_gap else set()
        events -= exported
        if foreign := events - source.changes.keys():
            self.violated("I3", f"{pipeline.name} says that {len(foreign)} changes of another table are loaded")
            return
        loaded = [source.changes[event_id] for event_id in events]
        for part in pipeline.targets:
            if "log" in part.outputs:
                self._check_log(part, loaded, exported)
            if part.rows_of:
                self._check_children(part, _list_lines(source, part, loaded), source.has_gap)
            elif not source.has_gap:
                self._check_mirror(part, loaded)
        if source.has_gap:
            self._check_mended(source)

    def _loaded_files(self, pipeline: str, files: dict[str, Item]) -> set[str]:
        """Those that the warehouse says are loaded; and the ledger, where a person took the warehouse's word away."""
        loaded = {row["file_id"] for row in self._rows(pipeline, "_load_files")}
        if pipeline not in self.meddled:
            return loaded
        found = {i for i, item in files.items() if item["pipeline"]["S"] == pipeline and item["state"]["S"] == "LOADED"}
        return loaded | found

    def _check_log(self, pipeline: Pipeline, loaded: list[Change], exported: set[str]) -> None:
        logged = {row["_event_id"] for row in self._warehouse.rows(quote_table(pipeline, "_log"))}
        logged = {event_id for event_id in logged if not event_id.startswith("resync:")} - exported
        expected = {change.event_id for change in loaded}
        if logged != expected and not (self.may_lack_log and logged < expected):
            self.violated("I4", f"the log of {pipeline.name} has {len(logged)} events of {len(loaded)} loaded ones")

    def _check_mended(self, source: SourceTable) -> None:
        """After a resync each mirror is the table, or the items of its kind, although changes were lost."""
        for part in source.pipeline.targets:
            if part.rows_of:
                continue
            items = [item for item in source.items() if not part.when or item["kind"]["S"] == part.name]
            expected = {f"S={item['id']['S']};": item["payload"]["S"] for item in items}
            rows = self._warehouse.rows(quote_table(part))
            found = {row["_key"]: row["payload"] for row in rows if row["_deleted"] != "true"}
            for key in expected.keys() | found.keys():
                if expected.get(key) != found.get(key):
                    is_now = f"{found.get(key)!r} after a resync, not {expected.get(key)!r}"
                    self.violated("I4", f"row {key} of {part.name} is {is_now}")
                    return

    def _check_children(self, child: Pipeline, lines: dict[str, tuple[str, ...]], has_gap: bool) -> None:
        """A child table has the elements of the winning versions, and no others but those of deletes that are kept."""
        expected = sorted((key, str(at), line) for key, texts in lines.items() for at, line in enumerate(texts))
        rows = self._warehouse.rows(quote_table(child))
        if has_gap and child.kept_deletes:
            rows = [row for row in rows if row["_key"] in lines]
        found = sorted((row["_key"], str(row["_position"]), row["text"]) for row in rows)
        if found != expected:
            wrong = [each for each in found if each not in expected] or [each for each in expected if each not in found]
            self.violated("I4", f"{child.name} has {len(found)} elements of {len(expected)}; {wrong[:1]}")

    def _check_mirror(self, pipeline: Pipeline, loaded: list[Change]) -> None:
        newest, kept = _find_newest(loaded), pipeline.kept_deletes
        several = bool(pipeline.when)
        expected = {
            key: (change.event_id, True, None)
            if several and change.kind != pipeline.name
            else (change.event_id, change.deleted, change.payload if change.is_kept(kept) else None)
            for key, change in newest.items()
        }
        found = {
            row["_key"]: (row["_event_id"], row["_deleted"] == "true", row["payload"])
            for row in self._warehouse.rows(quote_table(pipeline))
        }
        wrong = [key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)]
        if wrong:
            key = wrong[0]
            self.violated("I4", f"row {key} of {pipeline.name} is {found.get(key)}, not {expected.get(key)}")
        self._check_quantities(pipeline, newest)

    def _check_quantities(self, pipeline: Pipeline, newest: dict[str, Change]) -> None:
        """Hold that a row is one version: it has no value of an older one in a column that its load did not write."""
        for row in self._warehouse.rows(quote_table(pipeline)):
            key, found = row["_key"], row.get("quantity")
            found = None if found is None else str(found)
            newer = newest.get(key)
            is_own = newer and (not pipeline.when or newer.kind == pipeline.name)
            is_kept = newer and is_own and newer.is_kept(pipeline.kept_deletes)
            expected = {newer.quantity if is_kept else None} if newer else set()
            if found not in expected | ({None} if self.may_lack_quantity else set()):
                self.violated("I4", f"row {key} of {pipeline.name} has {found!r}, of another version, in quantity")

    # --- what files hold -----------------------------------------------------------------------------------------

    def _rows(self, pipeline: str, suffix: str) -> list[dict[str, Any]]:
        return self._warehouse.rows(quote_table(self._pipelines[pipeline], suffix))

    def _all_objects(self) -> list[tuple[str, str]]:
        known = [(self._bucket, key) for key in self._seen_events]
        return [*self._s3.objects, *known]

    def events_of(self, key: str) -> frozenset[str]:
        """The events in a file, as its object has them, or had them before it was lost or broken."""
        if key not in self._seen_events:
            lines = [*self._warehouse.parse(f"s3://{self._bucket}/{key}", *self._written(key), even_archived=True)]
            self._seen_rows[key] = len(lines)
            # Rows of child tables name no event.
            self._seen_events[key] = frozenset(line[3] for line in lines) - {FileFormat().null_marker}
        return self._seen_events[key]

    def _written(self, key: str) -> tuple[str, str]:
        """Delimiter and compression of an object, as its layout has them."""
        described = self._s3.objects[self._bucket, key].metadata
        layout = self._s3.objects[self._bucket, f"layouts/{described['pipeline']}/{described['layout-id']}.json"]
        written = json.loads(layout.content)
        return written["delimiter"], written["compression"]


def _file_id(key: str) -> str:
    return key.rpartition("/")[2].partition(".")[0]


def _list_lines(source: SourceTable, child: Pipeline, loaded: list[Change]) -> dict[str, tuple[str, ...]]:
    """List what the items of a child table's parent have, by key: as they are now after a resync, else as loaded."""
    if not source.has_gap:
        newest = {key: each for key, each in _find_newest(loaded).items() if each.kind == child.parent}
        return {key: each.lines for key, each in newest.items() if each.is_kept(child.kept_deletes)}
    items = [item for item in source.items() if item["kind"]["S"] == child.parent]
    return {f"S={item['id']['S']};": read_lines(item) for item in items}


def _find_newest(loaded: list[Change]) -> dict[str, Change]:
    """Give the newest of some changes, by key."""
    return {change.key: change for change in sorted(loaded, key=lambda change: change.order)}
