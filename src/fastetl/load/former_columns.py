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
from collections.abc import Callable, Iterable

import msgspec

from fastetl.aws import Deployment
from fastetl.columns import SYSTEM_COLUMNS
from fastetl.config import Pipeline
from fastetl.errors import WarehouseError
from fastetl.identifiers import fold
from fastetl.keys import layouts_prefix
from fastetl.model import Layout
from fastetl.sql import table_columns_sql

ASK_LIMIT_SECONDS = 30
"""If there is no answer by then, all former columns are taken to be in the table; if one is not, the load fails."""


class FormerColumns:
    """The former columns of one pipeline's tables."""

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

    async def note(self, layout: Layout) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Record the columns that are about to be written, and give the former ones by target.

        Args:
            layout: of the files that are loaded.

        Returns:
            Pairs of a target's name and its former columns, where it has some.

        Raises:
            StaleStepError: another process is changing the record; try again.
        """
        return await self._find_each(lambda part: _list_written(self._pipeline, part, layout))

    async def find(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Give the former columns that are in the tables, by target.

        Returns:
            As `note`.

        Raises:
            StaleStepError: as `note`.
        """
        return await self._find_each(lambda _: [])

    async def restore(self) -> None:
        """Record the columns of all files that were ever written, for a ledger that was lost or set back.

        Those that are not in the table do no harm.

        Raises:
            StaleStepError: as `note`.
            StorageError: S3 did not give the layouts.
        """
        layouts = await self._read_layouts()
        for part in self._pipeline.targets:
            known = await self._ledger.written_columns.read(self._pipeline.name, _name_table(part))
            every = tuple(dict.fromkeys([*known, *self._list_each(part, layouts)]))
            if every != known:
                await self._ledger.written_columns.put(self._pipeline.name, _name_table(part), every, known)

    async def _read_layouts(self) -> list[Layout]:
        keys = [key async for key in self._bucket.list_keys(layouts_prefix(self._prefix, self._pipeline.name))]
        return [msgspec.json.decode(await self._bucket.get(key), type=Layout) for key in keys]

    def _list_each(self, part: Pipeline, layouts: Iterable[Layout]) -> list[str]:
        return [name for layout in layouts for name in _list_columns(self._pipeline, part, layout)]

    async def _written_by_others(self, part: Pipeline) -> list[str]:
        """List what loads may have written that this ledger does not know of: none, once it knows of a load."""
        head = await self._ledger.batches.head(self._pipeline.name)
        return [] if head and head.loads else self._list_each(part, await self._read_layouts())

    async def _find_each(self, written_now: Callable[[Pipeline], list[str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
        found = [(part.name, await self._find(part, written_now(part))) for part in self._pipeline.targets]
        return tuple((name, columns) for name, columns in found if columns)

    async def _find(self, part: Pipeline, written_now: list[str]) -> tuple[str, ...]:
        name, table = self._pipeline.name, _name_table(part)
        known = await self._ledger.written_columns.read(name, table)
        every = tuple(dict.fromkeys([*(known or await self._written_by_others(part)), *written_now]))
        today = {fold(column) for column, _ in part.layout.columns}
        former = tuple(column for column in every if fold(column) not in today)
        if former and "mirror" in part.outputs:
            former = await self._keep_those_there(part, former)
            every = tuple(column for column in every if column in former or fold(column) in today)
        if every and every != known:
            await self._ledger.written_columns.put(name, table, every, known)
        return former

    async def _keep_those_there(self, part: Pipeline, former: tuple[str, ...]) -> tuple[str, ...]:
        sql, token = table_columns_sql(part), ("columns", self._new_name())
        try:
            async with asyncio.timeout(ASK_LIMIT_SECONDS):
                statement_id = await self._warehouse.run(sql, name="fastetl/columns", token=token)
                rows = await self._warehouse.rows(statement_id, 0)
        except (WarehouseError, TimeoutError):
            return former
        there = {column for table, column, *_ in rows if table == fold(part.target)}
        # A table that the caller may not see has no columns either.
        return tuple(column for column in former if fold(column) in there) if there else former


def _name_table(part: Pipeline) -> str:
    return f"{part.schema}.{part.target}"


def _list_columns(pipeline: Pipeline, part: Pipeline, layout: Layout) -> list[str]:
    """List the columns of a target that files of a layout hold."""
    if not pipeline.parts:
        return [name for name, _ in layout.columns]
    return [*(name for name, _ in SYSTEM_COLUMNS), *(name for name, _ in dict(layout.targets).get(part.name, ()))]


def _list_written(pipeline: Pipeline, part: Pipeline, layout: Layout) -> list[str]:
    """List the columns of a target that a load of a layout's files writes."""
    today = {name for name, _ in part.layout.columns}
    return [name for name in _list_columns(pipeline, part, layout) if name in today]
