"""Try out on a real account what no stand-in can show, by small experiments that clean up after themselves.

The design holds under either answer to each of them; the answers say which of its guards do the work.
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from fastetl.errors import WarehouseError
from fastetl.limits import STREAM_KEEPS_SECONDS
from fastetl.operate.questions import Question, Verdict, ask_each
from fastetl.operate.recent_files import read_files_since
from fastetl.sql import Statement, quote_identifier, quote_literal

if TYPE_CHECKING:
    from fastetl.aws import Deployment

RACES = 5


class Verifier:
    """Asks one pipeline's account."""

    def __init__(self, deployment: Deployment) -> None:
        """Describe the deployment to try out.

        Args:
            deployment: of the pipeline.
        """
        self._config = deployment.config
        self._pipeline = deployment.pipeline
        self._ledger = deployment.ledger
        self._clock = deployment.clock
        self._source = deployment.source
        self._bucket = deployment.bucket
        self._warehouse = deployment.warehouse
        self._name = deployment.new_name()[:12]
        """Ends the names of tables and objects, so that nothing else has them."""
        self._asked = 0

    async def verify(self) -> list[Verdict]:
        """Ask everything; what cannot be asked is an answer as well."""
        return await ask_each(
            [
                Question(
                    "Does a batch that waited for LOCK read what the other committed?",
                    self._snapshot_after_lock,
                    "the gate's LOCK alone keeps attempts apart",
                    "the gate's UPDATE keeps attempts apart; tell the maintainers",
                    matters=False,
                ),
                Question(
                    "Is an unquoted null marker NULL, and a quoted empty text not?",
                    self._null_marker,
                    "NULL and the empty text stay apart",
                    "do not load: NULL and text would be mixed up; tell the maintainers",
                ),
                Question(
                    "Does COPY read every member of a concatenated gzip?",
                    self._gzip_members,
                    "nothing: fastetl writes one member",
                    "nothing: fastetl writes one member",
                    matters=False,
                ),
                Question(
                    "Does the Data API refuse other SQL under a known client token?",
                    self._changed_sql,
                    "an attempt is never run with other statements under its name",
                    "the gate keeps an attempt from running twice; tell the maintainers",
                    matters=False,
                ),
                Question(
                    "Do a child shard's sequence numbers begin above its parent's?",
                    self._shards,
                    "the newest change of a key wins, also after a shard was split",
                    "an older change may win after a shard was split; tell the maintainers",
                ),
                Question(
                    "Do events name their shard, as the stream lists it?",
                    self._named_shards,
                    "it can be told up to when everything is loaded",
                    "it is not known up to when everything is loaded; if the stack has TellShards=yes and a"
                    " ParallelizationFactor of 1, tell the maintainers",
                    matters=False,
                ),
            ]
        )

    # --- the questions -------------------------------------------------------------------------------------------

    async def _snapshot_after_lock(self) -> tuple[str, bool]:
        """Run two batches at once that take the lock, change the gate, and add a row only if they find none."""
        stale = 0
        for _ in range(RACES):
            table = self._table("race")
            await self._run(f'CREATE TABLE {table} ("n" BIGINT, "who" BIGINT)', f"INSERT INTO {table} SELECT 0, 0")
            batches = [
                (
                    f"LOCK {table}",
                    f'UPDATE {table} SET "n" = "n" + 1 WHERE "who" = 0',
                    f'INSERT INTO {table} SELECT 0, {who} FROM (SELECT COUNT(*) AS "c" FROM {table} WHERE "who" > 0)'
                    ' AS "others" WHERE "c" = 0',
                )
                for who in (1, 2)
            ]
            try:
                ids = [await self._submit(*batch) for batch in batches]
                for statement_id in ids:
                    await self._warehouse.end(statement_id)
                ((count,),) = await self._rows(f'SELECT COUNT(*) FROM {table} WHERE "who" > 0')
                stale += int(count) > 1
            finally:
                await self._run(f"DROP TABLE {table}")
        if stale:
            return f"no, {stale} of {RACES} times: the gate's UPDATE has to refuse the second", False
        return f"yes, {RACES} of {RACES} times, or the second was refused", True

    async def _null_marker(self) -> tuple[str, bool]:
        rows = await self._copied(b'1,\\N\n2,"\\N"\n3,""\n4,\n', "", 'MAX(CASE WHEN "t" IS NULL THEN 1 ELSE 0 END)')
        found = {line: bool(int(is_null)) for line, is_null in rows}
        spelled = {"1": r"\N", "2": r'"\N"', "3": '""', "4": "nothing"}
        nulls = ", ".join(spelled[line] for line, is_null in sorted(found.items()) if is_null)
        return f"NULL are: {nulls}", found.get("1", False) and not found.get("3", True)

    async def _gzip_members(self) -> tuple[str, bool]:
        body = gzip.compress(b"1,a\n") + gzip.compress(b"2,b\n")
        try:
            rows = await self._copied(body, " GZIP", "COUNT(*)")
        except WarehouseError as error:
            return f"COPY refuses it ({error}); fastetl writes one member", True
        return f"{len(rows)} of 2 members were read; fastetl writes one member", True

    async def _changed_sql(self) -> tuple[str, bool]:
        token = ("verify", self._name)
        first = await self._warehouse.submit([Statement("one", "SELECT 1")], name="fastetl/verify", token=token)
        try:
            second = await self._warehouse.submit([Statement("two", "SELECT 2")], name="fastetl/verify", token=token)
        except WarehouseError as error:
            return f"yes: {error.code or error}", True
        same = "the first statement's id" if first == second else "another id: it ran"
        return f"no, it gives {same}", first == second

    async def _shards(self) -> tuple[str, bool]:
        pairs = await self._source.shard_bounds()
        wrong = [child for child, (parent_ends, child_begins) in pairs.items() if child_begins <= parent_ends]
        if not pairs:
            return "no shard has a parent that has ended; ask again after a split", True
        return f"{len(pairs) - len(wrong)} of {len(pairs)} do", not wrong

    async def _named_shards(self) -> tuple[str, bool]:
        """Ask whether the newest files know the shard of their event, which Lambda names where it has a window."""
        if self._pipeline.source != "stream":
            return "not of a Kinesis stream, of which this is not known", True
        label, shards = await self._source.shard_ids()
        since = int((self._clock() - STREAM_KEEPS_SECONDS) * 1000)
        files = [
            file
            async for file in read_files_since(self._ledger, self._pipeline.name, since)
            if f"/{label}/" in file.key
        ]
        if not files:
            return "no event has come for a day; ask again after a change", True
        named = [file for file in files if file.shard_id in shards]
        return f"{len(named)} of {len(files)} events of a day do", len(named) == len(files)

    # --- the means -----------------------------------------------------------------------------------------------

    async def _copied(self, body: bytes, options: str, aggregate: str) -> list[tuple[str, ...]]:
        """COPY an object of lines `n,t` into a table; give what the aggregate says of each line."""
        table, key = self._table("copy"), f"{self._config.prefix}check/{self._name}-{self._asked}"
        role = self._pipeline.redshift.iam_role
        await self._bucket.replace(key, body)
        try:
            await self._run(f'CREATE TABLE {table} ("n" BIGINT, "t" VARCHAR(16))')
            await self._run(
                f"COPY {table} FROM {quote_literal(f's3://{self._config.bucket}/{key}')}"
                f" IAM_ROLE {'default' if role == 'default' else quote_literal(role)}"
                f" FORMAT AS CSV{options}"
            )
            return await self._rows(f'SELECT "n", {aggregate} FROM {table} GROUP BY "n" ORDER BY "n"')
        finally:
            try:
                await self._bucket.delete(key)
            finally:
                await self._run(f"DROP TABLE IF EXISTS {table}")

    def _table(self, what: str) -> str:
        self._asked += 1
        name = f"fastetl_verify_{what}_{self._name}_{self._asked}"
        return f"{quote_identifier(self._pipeline.schema)}.{quote_identifier(name)}"

    async def _run(self, *sqls: str) -> str:
        return await self._warehouse.end(await self._submit(*sqls), ())

    async def _rows(self, sql: str) -> list[tuple[str, ...]]:
        return await self._warehouse.rows(await self._run(sql), 0)

    async def _submit(self, *sqls: str) -> str:
        self._asked += 1
        statements = [Statement("verify", sql) for sql in sqls]
        token = ("verify", self._name, self._asked)
        return await self._warehouse.submit(statements, name="fastetl/verify", token=token)
