"""Know the columns that loads wrote once and no longer write, since they have left the configuration.

A row is one version of an item. Values of an older version in these columns would be wrong beside those of a newer one,
and nothing of a deleted item may stay. So these columns become NULL in every row that is written. Columns that somebody
else has added to the table were never written by fastetl, and stay as they are.

The ledger records, for each table, the columns that were ever written. Where the ledger was lost, or a stack deployed
again beside its bucket, the layouts on S3 say which. The warehouse says which of the columns are still there, since
people drop columns.
"""

from __future__ import annotations

import asyncio

import msgspec

from fastetl.aws import Deployment
from fastetl.errors import WarehouseError
from fastetl.identifiers import fold
from fastetl.keys import layouts_prefix
from fastetl.model import Layout
from fastetl.sql import table_columns_sql

ASK_LIMIT_SECONDS = 30
"""If there is no answer by then, all former columns are taken to be in the table; if one is not, the load fails."""


class FormerColumns:
    """The former columns of one pipeline's table."""

    def __init__(self, deployment: Deployment) -> None:
        """Describe which columns loads of a pipeline have written.

        Args:
            deployment: of the pipeline.
        """
        self._pipeline = deployment.pipeline
        self._ledger = deployment.ledger
        self._bucket = deployment.bucket
        self._prefix = deployment.config.prefix
        self._warehouse = deployment.warehouse
        self._new_name = deployment.new_name
        self._table = f"{self._pipeline.schema}.{self._pipeline.target}"

    async def note(self, layout: Layout) -> tuple[str, ...]:
        """Record the columns that are about to be written, and give the former ones.

        Args:
            layout: of the files that are loaded.

        Raises:
            StaleStepError: another process is changing the record; try again.
        """
        today = {name for name, _ in self._pipeline.layout.columns}
        return await self._find([name for name, _ in layout.columns if name in today])

    async def find(self) -> tuple[str, ...]:
        """Give the former columns that are in the table.

        Raises:
            StaleStepError: as `note`.
        """
        return await self._find([])

    async def restore(self) -> None:
        """Record the columns of all files that were ever written, for a ledger that was lost or set back.

        Those that are not in the table do no harm.

        Raises:
            StaleStepError: as `note`.
            StorageError: S3 did not give the layouts.
        """
        known = await self._ledger.written_columns.read(self._pipeline.name, self._table)
        every = tuple(dict.fromkeys([*known, *await self._columns_of_files()]))
        if every != known:
            await self._ledger.written_columns.put(self._pipeline.name, self._table, every, known)

    async def _columns_of_files(self) -> list[str]:
        keys = [key async for key in self._bucket.list_keys(layouts_prefix(self._prefix, self._pipeline.name))]
        layouts = [msgspec.json.decode(await self._bucket.get(key), type=Layout) for key in keys]
        return [name for layout in layouts for name, _ in layout.columns]

    async def _written_by_others(self) -> list[str]:
        """List what loads may have written that this ledger does not know of: none, once it knows of a load."""
        head = await self._ledger.batches.head(self._pipeline.name)
        return [] if head and head.loads else await self._columns_of_files()

    async def _find(self, written_now: list[str]) -> tuple[str, ...]:
        name = self._pipeline.name
        known = await self._ledger.written_columns.read(name, self._table)
        every = tuple(dict.fromkeys([*(known or await self._written_by_others()), *written_now]))
        today = {fold(column) for column, _ in self._pipeline.layout.columns}
        former = tuple(column for column in every if fold(column) not in today)
        if former and "mirror" in self._pipeline.outputs:
            former = await self._keep_those_there(former)
            every = tuple(column for column in every if column in former or fold(column) in today)
        if every and every != known:
            await self._ledger.written_columns.put(name, self._table, every, known)
        return former

    async def _keep_those_there(self, former: tuple[str, ...]) -> tuple[str, ...]:
        sql, token = table_columns_sql(self._pipeline), ("columns", self._new_name())
        try:
            async with asyncio.timeout(ASK_LIMIT_SECONDS):
                statement_id = await self._warehouse.run(sql, name="fastetl/columns", token=token)
                rows = await self._warehouse.rows(statement_id, 0)
        except (WarehouseError, TimeoutError):
            return former
        there = {column for table, column, *_ in rows if table == fold(self._pipeline.target)}
        # A table that the caller may not see has no columns either.
        return tuple(column for column in former if fold(column) in there) if there else former
