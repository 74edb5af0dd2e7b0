"""A warehouse that interprets the statements of `fastetl.sql`, step by step, with real transactions.

Rows are versions under snapshot isolation, as Redshift's are: writers of one table queue on its lock until the other
transaction ends, and who then finds that a row of his snapshot was changed fails with error 1023. Whether the
snapshot begins before or after the first lock is granted is not documented; both are simulated (`early_snapshot`).

The statements' texts are read, not guessed: tables, literals, and the clauses that the protocol rests on. What a text
no longer says is no longer done.
"""

from __future__ import annotations

import asyncio
import csv
import gzip
import hashlib
import io
import json
import re
import zlib
from collections import Counter, deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from backports import zstd

from fastetl.columns import SYSTEM_COLUMNS
from tests.simulation.fake_s3 import ARCHIVED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.simulation.fake_s3 import FakeS3

Row = dict[str, Any]
Answer = list[tuple[Any, ...]]
"""The rows that a statement gives."""

POISON, SWALLOW = "<poison>", "<swallow>"
"""Values that COPY refuses, and that make it lose the line after, as an unbalanced quote does."""

_TABLE = r'("(?:[^"]|"")+"(?:\."(?:[^"]|"")+")?)'
_SYSTEM = {name for name, _ in SYSTEM_COLUMNS}
_FORGETTING = re.compile(
    r'CASE WHEN "ranked"\."_deleted"(?: AND "ranked"\."_op" NOT IN \(([^)]*)\))? THEN NULL ELSE "ranked"\."([^"]+)"'
)
_STEP = re.compile(r"/\* fastetl (\S+) \S* \*/\n")


class SqlError(Exception):
    """A statement failed, and its transaction with it."""


class Lock:
    """A table's write lock: held to the end of a transaction, granted in the order of asking."""

    def __init__(self) -> None:
        self.holder: Transaction | None = None
        self.waiting: deque[tuple[Transaction, asyncio.Future[None]]] = deque()

    async def acquire(self, transaction: Transaction) -> None:
        if self.holder in {None, transaction}:
            self.holder = transaction
            return
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append((transaction, turn))
        await turn

    def release(self) -> None:
        self.holder = None
        while self.waiting:
            transaction, turn = self.waiting.popleft()
            if not turn.cancelled():
                self.holder = transaction
                turn.set_result(None)
                return


class FakeWarehouse:
    """One database. `trouble` may raise `SqlError` before a step: permissions, full disks, dropped sessions."""

    def __init__(
        self,
        s3: FakeS3,
        clock: Callable[[], float] = lambda: 0.0,
        *,
        early_snapshot: bool = False,
        serializable: bool = False,
        names_errors: bool = True,
        trouble: Callable[[str, str], None] = lambda _step, _sql: None,
        watch: Callable[[FakeWarehouse], None] = lambda _: None,
    ) -> None:
        self.tables: dict[str, list[Row]] = {}
        self.columns: dict[str, list[str]] = {}
        """As the tables were defined."""
        self.load_errors: list[Row] = []
        self.conflicts: Counter[str] = Counter()
        """Errors 1023, by table."""
        self.s3 = s3
        self.clock = clock
        self.early_snapshot = early_snapshot
        self.serializable = serializable
        self.names_errors = names_errors
        self.trouble = trouble
        self.watch = watch
        self.meddled: set[str] = set()
        """Tables in which a person has deleted rows, perhaps beside a load."""
        self.age = 0
        """How often it was set back."""
        self._locks: dict[str, Lock] = {}
        self._parsed: dict[tuple[str, str], list[list[str]]] = {}

    def rows(self, table: str) -> list[Row]:
        """What is committed in a table, by its quoted name; empty where there is none."""
        return self.tables.get(table, [])

    def begin(self) -> Transaction:
        """A transaction of a session of its own."""
        return Transaction(self)

    def delete(self, table: str, gone: Callable[[Row], bool]) -> None:
        """What a person deletes, committed at once."""
        self.meddled.add(table)
        self.tables[table] = [row for row in self.rows(table) if not gone(row)]

    def snapshot(self) -> Any:
        """All tables as they are now."""
        return dict(self.tables)

    def restore(self, snapshot: Any) -> None:
        """Set all tables back; no session outlives it."""
        self.tables = dict(snapshot)
        self.age += 1

    def close(self) -> None:
        """Give back what it holds."""

    def lock(self, table: str) -> Lock:
        """The lock of one table."""
        return self._locks.setdefault(table, Lock())

    def parse(self, url: str, delimiter: str, compression: str, *, even_archived: bool = False) -> list[list[str]]:
        """An object's lines, as fields; parsed once."""
        bucket, _, key = url.removeprefix("s3://").partition("/")
        stored = self.s3.objects.get((bucket, key))
        if stored is None:
            raise SqlError(f"The specified S3 prefix '{key}' does not exist")
        if not even_archived and not self.s3.is_readable(stored):
            raise SqlError(f"S3ServiceException:{ARCHIVED},Status 403,Error InvalidObjectState, {url}")
        if (lines := self._parsed.get((stored.etag, compression))) is None:
            try:
                text = io.StringIO(_decompress(stored.content, compression), newline="")
                lines = list(csv.reader(text, delimiter=delimiter))
            except (OSError, EOFError, zlib.error, UnicodeDecodeError, zstd.ZstdError) as error:
                raise SqlError(f"failed to inflate {key}: {error}") from error
            self._parsed[stored.etag, compression] = lines = [line for line in lines if line]
        return lines


def _decompress(content: bytes, compression: str) -> str:
    match compression:
        case "gzip":
            return gzip.decompress(content).decode()
        case "zstd":
            return zstd.decompress(content).decode()
        case _:
            return content.decode()


class Transaction:
    """One transaction: statements in order, then `commit`, or `rollback` at any point."""

    def __init__(self, warehouse: FakeWarehouse) -> None:
        self._warehouse = warehouse
        self._age = warehouse.age
        self._snapshot: dict[str, list[Row]] | None = None
        self._inserted: dict[str, list[Row]] = {}
        self._removed: dict[str, set[int]] = {}
        self._temporary: dict[str, list[Row]] = {}
        self._columns: dict[str, list[str]] = {}
        """Of temporary tables."""
        self._read: set[str] = set()
        self._locks: list[Lock] = []

    async def run(self, sql: str, query_id: int = 0) -> Answer | None:
        """Run one statement; its rows where it is a query.

        Raises:
            SqlError: it failed; the transaction is to be rolled back.
        """
        match = _STEP.match(sql)
        step = match[1] if match else "sql"
        self._warehouse.trouble(step, sql)
        self._check_age()
        if self._warehouse.early_snapshot or step != "lock":
            self._begin_snapshot()
        body = sql[match.end() :] if match else sql
        if step in _WRITING:
            await self._acquire(_table(body, _WRITING[step]))
        return self._do(step, body, query_id)

    def _do(self, step: str, sql: str, query_id: int) -> Answer | None:
        do = getattr(self, f"_{step}", None)
        if do is None:
            raise SqlError(f"the fake warehouse does not know the step {step!r}")
        if step == "copy":
            self._copy(sql, query_id)
            return None
        answer: Answer | None = do(sql)
        return answer

    def commit(self) -> None:
        """Make everything visible at once.

        Raises:
            SqlError: another transaction has changed what this one rests on.
        """
        self._check_age()
        tables = self._warehouse.tables
        for name in {*self._inserted, *self._removed}:
            self._check_conflict(name)
        for name in {*self._inserted, *self._removed}:
            gone = self._removed.get(name, set())
            tables[name] = [row for row in tables.get(name, []) if id(row) not in gone] + self._inserted.get(name, [])
        changed = bool(self._inserted or self._removed)
        self.rollback()
        if changed:
            self._warehouse.watch(self._warehouse)

    def _check_age(self) -> None:
        if self._age != self._warehouse.age:
            raise SqlError("server closed the connection unexpectedly")

    def rollback(self) -> None:
        """Forget everything, and let others go on."""
        self._inserted, self._removed, self._temporary = {}, {}, {}
        for lock in self._locks:
            lock.release()
        self._locks = []

    # --- locks and versions --------------------------------------------------------------------------------------

    def _begin_snapshot(self) -> None:
        if self._snapshot is None:
            self._snapshot = dict(self._warehouse.tables)

    async def _acquire(self, table: str) -> None:
        lock = self._warehouse.lock(table)
        if lock.holder is not self:
            await lock.acquire(self)
            self._locks.append(lock)

    def _check_conflict(self, table: str) -> None:
        now = self._warehouse.tables.get(table, [])
        changed = now is not (self._snapshot or {}).get(table, now)
        lost = changed and not self._removed.get(table, set()) <= {id(row) for row in now}
        if lost or (changed and self._warehouse.serializable and table in self._read):
            self._warehouse.conflicts[table] += 1
            raise SqlError(f"ERROR: 1023 DETAIL: Serializable isolation violation on table {table}")

    def _rows(self, table: str) -> list[Row]:
        if table in self._temporary:
            return self._temporary[table]
        self._read.add(table)
        gone = self._removed.get(table, set())
        found = (self._snapshot or {}).get(table)
        if found is None:
            raise SqlError(f"relation {table} does not exist")
        return [row for row in found if id(row) not in gone] + self._inserted.get(table, [])

    def _insert(self, table: str, rows: list[Row]) -> None:
        self._inserted.setdefault(table, []).extend(rows)

    def _replace(self, table: str, row: Row, new: Row) -> None:
        self._remove(table, row)
        self._insert(table, [new])

    def _remove(self, table: str, row: Row) -> None:
        mine = self._inserted.get(table, [])
        if row in mine:
            mine.remove(row)
        else:
            self._removed.setdefault(table, set()).add(id(row))
            self._check_conflict(table)

    # --- the gate ------------------------------------------------------------------------------------------------

    def _lock(self, sql: str) -> None:
        """Taken before, as every writing statement's lock is."""

    def _bump(self, sql: str) -> None:
        gate, claims = _table(sql, "UPDATE"), re.search(r"WHEN \"owner\" = '' THEN '([^']*)'", sql)
        for row in self._rows(gate):
            owner = row["owner"] or (claims[1] if claims else "")
            self._replace(gate, row, row | {"n": row["n"] + 1, "owner": owner})

    def _take_over(self, sql: str) -> None:
        gate = _table(sql, "UPDATE")
        for row in self._rows(gate):
            self._replace(gate, row, row | {"n": row["n"] + 1, "owner": _quoted(sql, '"owner" =')})

    def _gate_written(self, sql: str) -> None:
        """Give the gate its row where there is none."""
        gate = _table(sql, "INSERT INTO")
        if not self._rows(gate):
            self._insert(gate, [{"n": 0, "owner": _quoted(sql, "SELECT 0,"), "source": "", "source_epoch": 0}])

    def _owner(self, sql: str) -> Answer:
        return [(row["owner"],) for row in self._rows(_table(sql, "FROM"))]

    def _gate_row(self, sql: str) -> Answer:
        owners = {row["owner"] for row in self._rows(_table(sql, "FROM"))}
        wanted = re.findall(r"M(?:IN|AX)\(\"owner\"\) = '([^']*)'", sql)
        return self._refuse(sql, [] if owners and owners <= set(wanted) else ["missing"])

    def _gate_batch(self, sql: str) -> Answer:
        return self._refuse(sql, _matching(self._rows(_table(sql, "FROM")), sql))

    _gate_fence = _gate_batch

    def _gate_source(self, sql: str) -> Answer:
        pattern = rf"FROM {_TABLE} WHERE \"source\" <> '' AND \"source\" <> '([^']+)' .* FROM {_TABLE}.* ELSE (\d+) END"
        found = re.search(pattern, sql)
        if found is None:
            raise SqlError(f"syntax error: {sql[:80]}")
        gate, source, epochs, epoch = found.groups()
        kinds = ("resync",) if "\"kind\" = 'resync'" in sql else ("announced", "backfill", "resync")
        resync = max((row["epoch"] for row in self._rows(epochs) if row["kind"] in kinds), default=0)
        others = [row for row in self._rows(gate) if row["source"] not in {"", source}]
        return self._refuse(sql, [row for row in others if resync <= min(row["source_epoch"], int(epoch))])

    def _source(self, sql: str) -> None:
        found = re.search(r"SET \"source\" = '([^']+)', \"source_epoch\" = (\d+) WHERE", sql)
        if found is None:
            raise SqlError(f"syntax error: {sql[:80]}")
        gate = _table(sql, "UPDATE")
        for row in self._rows(gate):
            if row["source_epoch"] <= int(found[2]):
                self._replace(gate, row, row | {"source": found[1], "source_epoch": int(found[2])})

    def _gate_files(self, sql: str) -> Answer:
        ids = {row["file_id"] for row in self._rows('"fastetl_files"')}
        found = _matching(self._rows(_table(sql, "FROM")), sql)
        return self._refuse(sql, [row for row in found if row["file_id"] in ids])

    def _count(self, sql: str) -> Answer:
        expected = {row["file_id"]: int(row["row_count"]) for row in self._rows('"fastetl_files"')}
        found = Counter(row["_file"] for row in self._rows('"fastetl_staged"'))
        different = [name for name in {*expected, *found} if expected.get(name, -1) != found.get(name, -1)]
        return self._refuse(sql, different)

    def _stamps(self, sql: str) -> Answer:
        kept = self._rows(re.search(rf'INNER JOIN {_TABLE} AS "epochs"', sql)[1])
        since = max((row["epoch"] for row in kept if row["kind"] == "resync"), default=0)
        carried = self._carried(sql)
        wrong = [
            row
            for row in self._rows('"fastetl_staged"')
            for each in kept
            if (each["kind"] != "announced" or each["epoch"] == carried) and each["epoch"] >= since
            # A row of a child table has no time: no comparison with NULL is true.
            if row["_changed_at"] is not None
            and row["_changed_at"] >= each["starts_at"]
            and row["_version"] < each["floor"]
        ]
        latest = re.search(r'"latest" < (\d+)', sql)
        is_lost = latest and max((row["epoch"] for row in kept), default=0) < int(latest[1])
        foreign = re.search(r'WHERE "epoch" = (\d+) AND \("kind"', sql)
        if foreign and since <= int(foreign[1]):
            of_it = [row["kind"] for row in kept if row["epoch"] == int(foreign[1])]
            is_lost = is_lost or not (of_it and (of_it[0] != "announced" or int(foreign[1]) == carried))
        return self._refuse(sql, [*wrong, *(["lost"] if is_lost else []), *self._missing_load(sql)])

    def _set_back(self, sql: str) -> Answer:
        return self._refuse(sql, self._missing_load(sql))

    def _missing_load(self, sql: str) -> list[str]:
        """A row where the statement names a batch that is not loaded."""
        last = re.search(rf'COUNT\(\*\) AS "there" FROM {_TABLE} WHERE (.*?)\) AS "last_load"', sql)
        if not last:
            return []
        there, attempt = _matching(self._rows(last[1]), last[2]), re.search(r'"attempt" = (\d+)', last[2])
        return [] if any(not attempt or row["attempt"] == int(attempt[1]) for row in there) else ["missing"]

    # --- epochs --------------------------------------------------------------------------------------------------

    def _epochs(self, sql: str) -> Answer:
        tables = re.findall(rf"FROM {_TABLE}", sql)
        kept = sorted(
            self._rows(next(each for each in tables if each.endswith('_epochs"'))), key=lambda row: row["epoch"]
        )
        carried = self._carried(sql)
        kinds = ["backfill" if row["kind"] == "announced" and row["epoch"] == carried else row["kind"] for row in kept]
        epochs = [(row["epoch"], row["starts_at"], kind) for row, kind in zip(kept, kinds, strict=True)]
        return [*epochs, (self._reached(sql), "", "reached")] if "'reached'" in sql else epochs

    def _reached(self, sql: str) -> int:
        """The latest epoch that rows of the mirrors carry, or changes that were loaded."""
        mirrors = re.findall(rf'MAX\("_version"\).*? FROM {_TABLE}', sql)
        versions = [row["_version"] for mirror in mirrors for row in self._rows(mirror)]
        return max([self._carried(sql), *(int(version[:4]) for version in versions)])

    def _carried(self, sql: str) -> int:
        """The latest epoch that a loaded change carries, where the statement asks for it."""
        gate = re.search(rf'SELECT MAX\("source_epoch"\) FROM {_TABLE}', sql)
        return max((row["source_epoch"] for row in self._rows(gate[1])), default=0) if gate else 0

    def _epochs_known(self, sql: str) -> None:
        epochs = _table(sql, "INSERT INTO")
        there = {row["epoch"] for row in self._rows(epochs)}
        self._insert(epochs, [row for row in _epoch_rows(sql) if row["epoch"] not in there])

    def _epochs_found(self, sql: str) -> None:
        epochs, mirrors = _table(sql, "INSERT INTO"), set(re.findall(rf"SELECT COUNT\(\*\) FROM {_TABLE}", sql))
        there = {row["epoch"] for row in self._rows(epochs)}
        for row in _epoch_rows(sql):
            newer = [
                one
                for mirror in mirrors
                for one in self._rows(mirror)
                if (one["_changed_at"] or "") >= row["starts_at"] and one["_version"] < row["floor"]
            ]
            if row["epoch"] not in there:
                self._insert(epochs, [row | {"kind": "announced" if newer else "backfill"}])

    def _epochs_new(self, sql: str) -> None:
        epochs, (new,) = _table(sql, "INSERT INTO"), _epoch_rows(sql)
        if not [row for row in self._rows(epochs) if row["epoch"] >= new["epoch"]]:
            self._insert(epochs, [new])

    def _epochs_kind(self, sql: str) -> None:
        epochs, epoch = _table(sql, "UPDATE"), int(re.search(r'"epoch" = (\d+)', sql)[1])
        for row in [row for row in self._rows(epochs) if row["epoch"] == epoch]:
            self._replace(epochs, row, row | {"kind": _quoted(sql, '"kind" =')})

    def _refuse(self, sql: str, rows: list[Any]) -> Answer:
        if rows:
            why = re.search(r"ELSE '([^']*)'", sql)
            raise SqlError(f'invalid input syntax for integer: "{why[1] if why else ""}"')
        return [(0,)]

    # --- staging -------------------------------------------------------------------------------------------------

    def _stage(self, sql: str) -> None:
        name = _table(sql, "CREATE TEMP TABLE")
        if name in self._temporary:
            raise SqlError(f"relation {name} already exists")
        self._temporary[name] = []
        self._columns[name] = _defined(sql)

    _stage_files = _stage_winners = _stage

    def _copy_files(self, sql: str) -> None:
        self._copy(sql, 0)

    def _copy(self, sql: str, query_id: int) -> None:
        head = re.match(r'COPY ("[^"]+") \(([^)]*)\) FROM \'([^\']+)\'', sql)
        if head is None:
            raise SqlError(f"syntax error: {sql[:60]}")
        columns = re.findall(r'"([^"]+)"', head[2])
        delimiter = _quoted(sql, "DELIMITER").replace(r"\t", "\t")
        compression = "gzip" if " GZIP" in sql else "zstd" if " ZSTD" in sql else "none"
        null = _quoted(sql, "NULL AS") if " NULL AS " in sql else r"\N"
        staged = self._temporary[head[1]]
        for url in self._urls(head[3], manifest=" MANIFEST " in sql):
            lines = self._warehouse.parse(url, delimiter, compression)
            staged += self._convert(url, lines, columns, null, query_id)

    def _urls(self, url: str, *, manifest: bool) -> Iterator[str]:
        if not manifest:
            yield url
            return
        bucket, _, key = url.removeprefix("s3://").partition("/")
        stored = self._warehouse.s3.objects.get((bucket, key))
        if stored is None:
            problem = "S3ServiceException:The specified key does not exist.,Status 404,Error NoSuchKey"
            raise SqlError(f"Problem reading manifest file - {problem}")
        for entry in json.loads(stored.content)["entries"]:
            entry_bucket, _, entry_key = entry["url"].removeprefix("s3://").partition("/")
            if (entry_bucket, entry_key) in self._warehouse.s3.objects:
                yield entry["url"]
            elif entry.get("mandatory"):
                raise SqlError("Mandatory url is not present in manifest file.")

    def _convert(self, url: str, lines: list[list[str]], columns: list[str], null: str, query_id: int) -> Iterator[Row]:
        swallowed = False
        for number, line in enumerate(lines, 1):
            if swallowed:
                swallowed = False
                continue
            if POISON in line or len(line) != len(columns):
                if self._warehouse.names_errors:
                    error: Row = {"query_id": query_id, "file_name": url, "column_name": "payload", "error_code": 1204}
                    error |= {"line_number": number, "error_message": "String length exceeds DDL length"}
                    self._warehouse.load_errors.append(error | {"start_time": self._warehouse.clock()})
                raise SqlError("Load into table 'fastetl_staged' failed. Check 'sys_load_error_detail' for details.")
            swallowed = SWALLOW in line
            yield {name: None if field == null else field for name, field in zip(columns, line, strict=True)}

    # --- log and mirror ------------------------------------------------------------------------------------------

    def _log(self, sql: str) -> None:
        if sql.startswith("CREATE TABLE"):
            self._bookkeeping(sql)
            return
        log = _table(sql, "INSERT INTO")
        if "'resync:" in sql:
            self._insert(log, [row | tombstone for row, tombstone in self._gone(_table(sql, "FROM"), sql)])
            return
        bounds = re.search(r"BETWEEN '([^']*)' AND '([^']*)'", sql)
        low, high = bounds.groups() if bounds else ("", "\uffff")
        seen = {row["_event_id"] for row in self._rows(log) if low <= row["_changed_at"] <= high}
        added: dict[str, Row] = {}
        for row in sorted(self._see(sql, '"fastetl_staged"'), key=lambda row: row["_file"]):
            added.setdefault(row["_event_id"], row)
        self._insert(log, [dict(row) for event_id, row in added.items() if event_id not in seen])

    def _see(self, sql: str, table: str) -> list[Row]:
        """The rows of a temporary table as the target of a statement sees them: what is another's is a tombstone."""
        rows, own = self._items(sql, table), re.search(r"CASE WHEN \"_target\" = '([^']*)' THEN", sql)
        if own is None:
            return rows
        places = re.findall(r'THEN "([^"_][^"]*)" END AS "([^"]+)"', sql)
        seen = []
        for row in rows:
            system = {name: value for name, value in row.items() if name in _SYSTEM}
            if row["_target"] == own[1]:
                seen.append(system | {name: row[place] for place, name in places})
            elif f"WHERE \"_target\" = '{own[1]}'" not in sql:
                seen.append(system | {"_op": "LEAVE", "_deleted": "true"} | {name: None for _, name in places})
        return seen

    def _items(self, sql: str, table: str) -> list[Row]:
        """The rows of a temporary table that are no elements, where a statement leaves these out."""
        left_out = re.search(r"\"_target\" NOT IN \(([^)]*)\)", sql)
        children = re.findall("'([^']*)'", left_out[1]) if left_out else []
        return [row for row in self._rows(table) if row.get("_target") not in children]

    def _winners(self, sql: str) -> None:
        """The rows that win: over the mirror as well, unless that is left to each of several targets."""
        several = sql.startswith("CREATE TEMP TABLE")
        newest_wins = 'ORDER BY "_version" DESC' in sql
        resyncs = re.search(rf'MAX\("floor"\), \'\'\) FROM {_TABLE}', sql)
        floor = max((row["floor"] for row in self._rows(resyncs[1])), default="") if resyncs else ""
        best: dict[str, Row] = {}
        for row in self._see(sql, '"fastetl_staged"'):
            known = best.get(row["_key"])
            if known is None or (newest_wins and row["_version"] > known["_version"]):
                best[row["_key"]] = row
        rows = [row for row in best.values() if row["_version"] >= floor]
        if several:
            self._temporary[_table(sql, "CREATE TEMP TABLE")] = [dict(row) for row in rows]
            return
        winners = _table(sql, "INSERT INTO")
        # A column that these files do not have stays NULL.
        empty = dict.fromkeys(self._columns[winners])
        inserted = _names(sql, rf"INSERT INTO {re.escape(winners)} ")
        self._temporary[winners] = [
            empty | {name: row[name] for name in inserted} | _forgotten(sql, row) for row in self._newer(sql, rows)
        ]

    def _newer(self, sql: str, rows: list[Row]) -> list[Row]:
        """Those of some rows that are newer than the mirror's."""
        mirror = {row["_key"]: row["_version"] for row in self._rows(_table(sql, "LEFT JOIN"))}
        guarded = '"mirror"."_version" <' in sql
        return [
            row for row in rows if row["_key"] not in mirror or not guarded or mirror[row["_key"]] < row["_version"]
        ]

    def _won(self, sql: str) -> None:
        empty = dict.fromkeys(re.findall(r'CASE WHEN FALSE THEN "mirror"\."([^"]+)" END', sql))
        empty |= dict.fromkeys(re.findall(r'CAST\(NULL AS .+?\) AS "([^"]+)"', sql))
        rows = [row | empty | _forgotten(sql, row) for row in self._see(sql, '"fastetl_winners"')]
        self._temporary[_table(sql, "CREATE TEMP TABLE")] = self._newer(sql, rows)

    def _elements_gone(self, sql: str) -> None:
        if sql.startswith("UPDATE"):
            # They stay, as their items do, since deletes keep what there was.
            child, mirror = _table(sql, "UPDATE"), _table(sql, '"_key" FROM')
            tombstones = {row["_key"]: tombstone for row, tombstone in self._gone(mirror, sql)}
            for row in [row for row in self._rows(child) if row["_key"] in tombstones]:
                self._replace(child, row, row | tombstones[row["_key"]])
            return
        child, kept = _table(sql, "DELETE FROM"), []
        floor = re.search(r'WHERE "_version" < \'([^\']*)\' AND NOT "_deleted"', sql)
        rows = self._rows(_table(sql, '"_key" FROM'))
        won = {row["_key"] for row in rows if not floor or (row["_version"] < floor[1] and row["_deleted"] != "true")}
        if '"_position" <' in sql:  # as a mutation has it
            now = Counter(row["_key"] for row in self._rows('"fastetl_staged"') if row["_target"] == _literals(sql)[0])
            kept = [row for row in self._rows(child) if int(row["_position"]) >= now[row["_key"]]]
        for row in [row for row in self._rows(child) if row["_key"] in won and row not in kept]:
            self._remove(child, row)

    def _elements(self, sql: str) -> None:
        child = _table(sql, "INSERT INTO")
        names = re.findall('"([^"]+)"', sql.partition("(")[2].partition(")")[0])
        values = re.findall(r'"(staged|won)"\."([^"]+)"', sql.partition("SELECT")[2].partition("FROM")[0])
        joined = re.findall(r'"staged"\."([^"]+)" = "won"', sql)
        won = {tuple(row[name] for name in joined): row for row in self._rows(_table(sql, "JOIN"))}
        target, *kept = _literals(sql)
        for row in self._rows('"fastetl_staged"'):
            winner = won.get(tuple(row[name] for name in joined))
            stays = winner and (winner["_deleted"] != "true" or winner["_op"] in kept)
            if row["_target"] == target and winner and stays:
                of = {"staged": row, "won": winner}
                self._insert(child, [{name: of[at][place] for name, (at, place) in zip(names, values, strict=True)}])

    def _merge(self, sql: str) -> None:
        mirror = _table(sql, "MERGE INTO")
        source = _table(sql, "USING")
        updated = re.findall(rf'"([^"]+)" = {source}\.', sql.partition("THEN UPDATE SET")[2])
        inserted = _names(sql, "THEN INSERT ")
        there = {row["_key"]: row for row in self._rows(mirror)}
        for winner in self._rows(source):
            if old := there.get(winner["_key"]):
                # A column that the statement does not set keeps its value.
                self._replace(mirror, old, old | {name: winner[name] for name in updated})
            else:
                self._insert(mirror, [{name: winner[name] for name in inserted}])

    def _former_columns(self, sql: str) -> None:
        mirror, emptied = _table(sql, "UPDATE"), dict.fromkeys(re.findall(r'"([^"]+)" = NULL', sql))
        written = {winner["_key"] for winner in self._rows('"fastetl_winners"')}
        for row in [row for row in self._rows(mirror) if row["_key"] in written]:
            self._replace(mirror, row, row | emptied)

    def _tombstones(self, sql: str) -> None:
        mirror = _table(sql, "UPDATE")
        forgotten = dict.fromkeys(re.findall(r'"([^"]+)" = CAST\(NULL AS ', sql))
        for row, tombstone in self._gone(mirror, sql):
            self._replace(mirror, row, row | tombstone | forgotten)

    def _gone(self, mirror: str, sql: str) -> list[tuple[Row, Row]]:
        """The rows that a resync found gone, and what it makes of each."""
        floor = re.search(r'WHERE "_version" < \'([^\']*)\' AND NOT "_deleted"', sql)
        version = re.search(r"'(\d{4}#0000-[^']*)'", sql)
        moment = re.search(r"CAST\('([^']*)' AS TIMESTAMP\)", sql)
        name = re.search(r"'(resync:[^']*)' \|\| MD5", sql)
        if not (floor and version and moment and name):
            raise SqlError(f"syntax error: {sql[:80]}")
        fixed = {"_version": version[1], "_op": "REMOVE", "_changed_at": moment[1], "_deleted": "true"}
        return [
            (row, fixed | {"_event_id": name[1] + hashlib.md5(row["_key"].encode()).hexdigest()})
            for row in self._rows(mirror)
            if row["_version"] < floor[1] and row["_deleted"] != "true"
        ]

    def _resyncs(self, sql: str) -> None:
        epoch, floor = re.search(r"SELECT (\d+), '([^']*)'", sql).groups()
        self._insert(_table(sql, "INSERT INTO"), [{"epoch": int(epoch), "floor": floor}])

    def _resyncs_ended(self, sql: str) -> Answer:
        return [(row["epoch"],) for row in self._rows(_table(sql, "FROM"))]

    def _purge(self, sql: str) -> None:
        mirror = _table(sql, "DELETE FROM")
        for row in self._rows(mirror):
            if row["_deleted"] == "true":
                self._removed.setdefault(mirror, set()).add(id(row))
        self._inserted[mirror] = [row for row in self._inserted.get(mirror, []) if row["_deleted"] != "true"]

    def _drop(self, sql: str) -> None:
        for name in re.findall('"[^"]+"', sql.partition("DROP TABLE")[2]):
            del self._temporary[name]

    _drop_staged = _drop_files = _drop_winners = _drop

    # --- bookkeeping ---------------------------------------------------------------------------------------------

    def _load_files(self, sql: str) -> None:
        batch_id = _literals(sql)[0]
        rows = [
            {"file_id": row["file_id"], "row_count": int(row["row_count"])} for row in self._rows('"fastetl_files"')
        ]
        self._insert(_table(sql, "INSERT INTO"), [row | {"batch_id": batch_id, **self._loaded_at()} for row in rows])

    def _loads(self, sql: str) -> None:
        found = re.search(r"SELECT '([^']*)', (\d+), '([^']*)'", sql)
        if found is None:
            raise SqlError("syntax error")
        row = {"batch_id": found[1], "attempt": int(found[2]), "manifest_checksum": found[3]}
        self._insert(_table(sql, "INSERT INTO"), [row | self._loaded_at()])

    def _loaded_at(self) -> Row:
        return {"loaded_at": self._warehouse.clock()}

    def _fence(self, sql: str) -> None:
        fences = _table(sql, "INSERT INTO")
        loads, others = re.findall(rf"(?:FROM|UNION ALL SELECT \"batch_id\" FROM) {_TABLE} WHERE", sql)
        found = re.search(r"SELECT '([^']*)', (\d+)", sql)
        if found is None:
            raise SqlError("syntax error")
        batch_id, attempt = found[1], int(found[2])
        standing = [row for row in _recent(self._rows(loads), sql) if row["batch_id"] == batch_id]
        fenced = [row for row in _recent(self._rows(others), sql) if row["batch_id"] == batch_id]
        standing += [row for row in fenced if row["attempt"] >= attempt]
        if not standing:
            row = {"batch_id": batch_id, "attempt": attempt, "fenced_at": self._warehouse.clock()}
            self._insert(fences, [row])

    def _verdict(self, sql: str) -> Answer:
        loads, fences = re.findall(rf"FROM {_TABLE} WHERE", sql)
        loaded = _matching(self._rows(loads), sql)
        fenced = [row["attempt"] for row in _matching(self._rows(fences), sql)]
        rows: Answer = [("loaded", row["manifest_checksum"]) for row in loaded]
        return [*rows, ("fenced", str(max(fenced)) if fenced else None)]

    def _verdict_files(self, sql: str) -> Answer:
        ids = {row["file_id"] for row in self._rows('"fastetl_files"')}
        found = _recent(self._rows(_table(sql, "FROM")), sql)
        return [(row["file_id"], row["batch_id"]) for row in found if row["file_id"] in ids]

    def _load_errors(self, sql: str) -> Answer:
        asked = re.search(r'"query_id" = (\d+) OR \("start_time" >= CAST\(\'([^\']*)\'', sql)
        if asked is None:
            raise SqlError(f"syntax error: {sql[:80]}")
        since = datetime.fromisoformat(asked[2]).replace(tzinfo=UTC).timestamp()
        begins = _literals(sql)[-1]
        found = [
            row
            for row in self._warehouse.load_errors
            if row["query_id"] == int(asked[1]) or (row["start_time"] >= since and row["file_name"].startswith(begins))
        ]
        names = ("file_name", "line_number", "column_name", "error_code", "error_message")
        return [tuple(row[name] for name in names) for row in found]

    def _table_columns(self, sql: str) -> Answer:
        schema, *tables = _literals(sql)
        columns = self._warehouse.columns
        return [
            (table, name, "character varying", 64, None, None)
            for table in tables
            for name in columns.get(f'"{schema}"."{table}"', [])
        ]

    def _loaded_files(self, sql: str) -> Answer:
        asked = set(_literals(sql.partition(" IN (")[2]))
        rows = [row for row in _recent(self._rows(_table(sql, "FROM")), sql) if row["file_id"] in asked]
        return [(row["file_id"], row["batch_id"], row["row_count"]) for row in rows]

    def _bookkeeping(self, sql: str) -> None:
        if sql.startswith("INSERT"):
            gate = _table(sql, "INSERT INTO")
            if not self._warehouse.tables[gate]:
                owner = _quoted(sql, "SELECT 0,")
                self._warehouse.tables[gate] = [{"n": 0, "owner": owner, "source": "", "source_epoch": 0}]
        else:
            name = _table(sql, "CREATE TABLE IF NOT EXISTS")
            self._warehouse.tables.setdefault(name, [])
            self._warehouse.columns.setdefault(name, _defined(sql))

    _mirror = _bookkeeping

    def _schema(self, sql: str) -> None:
        """Schemas, views and grants hold nothing."""

    _current = _history = _complete = _all = _drop_all = _drop_current = _drop_history = _complete = _grant = _schema


_WRITING = {
    "lock": "LOCK",
    "bump": "UPDATE",
    "take_over": "UPDATE",
    "gate_written": "INSERT INTO",
    "epochs_known": "INSERT INTO",
    "epochs_found": "INSERT INTO",
    "epochs_new": "INSERT INTO",
    "epochs_kind": "UPDATE",
    "fence": "INSERT INTO",
    "load_files": "INSERT INTO",
    "loads": "INSERT INTO",
    "source": "UPDATE",
    "merge": "MERGE INTO",
    "former_columns": "UPDATE",
    "tombstones": "UPDATE",
    "resyncs": "INSERT INTO",
}
"""Steps that write to a table that stays, and the words before its name."""


def _table(sql: str, before: str) -> str:
    if (found := re.search(rf"{before} {_TABLE}", sql)) is None:
        raise SqlError(f"syntax error: no table after {before} in {sql[:80]!r}")
    return found[1]


def _defined(sql: str) -> list[str]:
    """The columns that a CREATE TABLE defines."""
    return re.findall(r'[(,] ?"([^"]+)" [A-Z]', sql)


def _names(sql: str, before: str) -> list[str]:
    """The names in the parentheses that follow some words."""
    if (found := re.search(rf"{before}\(([^)]*)\)", sql)) is None:
        raise SqlError(f"syntax error: no list of names after {before} in {sql[:80]!r}")
    return re.findall(r'"([^"]+)"', found[1])


def _forgotten(sql: str, row: Row) -> Row:
    """The columns that a tombstone loses, as the staged columns' CASE has them."""
    if row["_deleted"] != "true":
        return {}
    return {name: None for kept, name in _FORGETTING.findall(sql) if f"'{row['_op']}'" not in kept}


def _literals(sql: str) -> list[str]:
    return re.findall(r"'([^']*)'", sql)


def _quoted(sql: str, before: str) -> str:
    found = re.search(rf"{before} '([^']*)'", sql)
    return found[1] if found else ""


def _recent(rows: list[Row], sql: str) -> list[Row]:
    """Rows of the time that a WHERE clause names."""
    bound = re.search(r"\"(?:loaded|fenced)_at\" >= CAST\('([^']*)' AS TIMESTAMP\)", sql)
    if bound is None:
        raise SqlError(f"bookkeeping is read without a bound: {sql[:80]!r}")
    since = datetime.fromisoformat(bound[1]).replace(tzinfo=UTC).timestamp()
    return [row for row in rows if row["loaded_at" if "loaded_at" in row else "fenced_at"] >= since]


def _epoch_rows(sql: str) -> list[Row]:
    """The rows that a statement would write into the table of epochs."""
    cast = r"CAST\('([^']*)' AS [^)]+\)?\) AS"
    kind = r"CAST\((?:CASE.*?END|'([^']*)') AS [^)]+\)\) AS"
    found = re.findall(rf'SELECT (\d+) AS "epoch", {cast} "floor",\s+{cast} "starts_at",\s+{kind} "kind"', sql)
    names = ("floor", "starts_at", "kind")
    return [{"epoch": int(epoch), **dict(zip(names, rest, strict=True))} for epoch, *rest in found]


def _matching(rows: list[Row], sql: str) -> list[Row]:
    """Rows of the time, the batch and the attempts that a WHERE clause names."""
    rows = _recent(rows, sql)
    batch = re.search(r"\"batch_id\" = '([^']*)'", sql)
    attempt = re.search(r'"attempt" >= (\d+)', sql)
    return [
        row
        for row in rows
        if (batch is None or row["batch_id"] == batch[1]) and (attempt is None or row["attempt"] >= int(attempt[1]))
    ]


class Rows(msgspec.Struct):
    """The rows of an answer as the Data API writes them."""

    records: list[list[dict[str, Any]]]

    @classmethod
    def of(cls, answer: Answer) -> Rows:
        """Write an answer."""
        return cls([[_field(value) for value in row] for row in answer])


def _field(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {"isNull": True}
        case bool():
            return {"booleanValue": value}
        case int():
            return {"longValue": value}
        case _:
            return {"stringValue": str(value)}
