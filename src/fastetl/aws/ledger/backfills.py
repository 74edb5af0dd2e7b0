"""Backfills, `E#<pipeline>#<epoch>#<export>`, and the data files of their exports that are done, `X#…#<name>`.

The backfill that was written last is there once more as `E#<pipeline>`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fastetl.aws.calls import gather
from fastetl.aws.ledger.items import parse_item, write_item
from fastetl.aws.ledger.pending import PendingIndex, entry_keys
from fastetl.model import Backfill, Converted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastetl.aws.ledger.table import LedgerTable


class Backfills:
    """The backfills that a ledger has seen."""

    def __init__(self, table: LedgerTable) -> None:
        """Describe the backfills.

        Args:
            table: the ledger's.
        """
        self._table = table
        self._index = PendingIndex(table)

    async def put(self, backfill: Backfill) -> None:
        """Write down a backfill and how far it is.

        Args:
            backfill: the item to write.
        """
        pk, row = _name_item(backfill), msgspec.to_builtins(backfill)
        listed = entry_keys(backfill.pipeline, "backfills", 0, pk)
        # Once more under the pipeline's name alone, where the coordinator looks for the latest.
        for item in ({"pk": pk, **row, **listed}, {"pk": f"E#{backfill.pipeline}", **row}):
            await self._table.call("put_item", Item=write_item(item))

    async def read_latest(self, pipeline: str) -> Backfill | None:
        """Read the backfill that was written last, consistently; None where there is none.

        Args:
            pipeline: its name.
        """
        row = await self._table.get(f"E#{pipeline}")
        return parse_item(row, Backfill) if row else None

    async def read(self, pipeline: str, epoch: int, name: str) -> Backfill | None:
        """Read a backfill consistently; None where there is none.

        Args:
            pipeline: its name.
            epoch: the backfill's.
            name: of the export, as `Backfill.name`.
        """
        row = await self._table.get(f"E#{pipeline}#{epoch}#{name}")
        return parse_item(row, Backfill) if row else None

    async def read_all(self, pipeline: str) -> tuple[Backfill, ...]:
        """Read all backfills of a pipeline, the oldest epoch's and export's first.

        The index, which is late by seconds, says which there are, and the latest is known by its own key.

        Args:
            pipeline: its name.
        """
        listed = {pk async for pk in self._index.entries(pipeline, "backfills")}
        latest = await self.read_latest(pipeline)
        rows = await gather(self._table.get, listed | ({_name_item(latest)} if latest else set()))
        found = [parse_item(row, Backfill) for row in rows if row]
        return tuple(sorted(found, key=lambda each: (each.epoch, each.exported_at, each.export_id)))

    async def put_converted(self, backfill: Backfill, converted: Converted) -> None:
        """Write down that all files of a data file are registered.

        Args:
            backfill: that the data file belongs to.
            converted: the data file, with its counts.
        """
        pk = _name_data_file(backfill, converted.name)
        row = {"pk": pk, "pipeline": backfill.pipeline, **msgspec.to_builtins(converted)}
        await self._table.call("put_item", Item=write_item(row))

    async def converted(self, backfill: Backfill, names: Iterable[str]) -> dict[str, Converted]:
        """Read which of some data files are done, consistently.

        Args:
            backfill: whose data files they are.
            names: theirs, as `DataFile.name`.

        Returns:
            The data files that are done, by their name in the export.
        """
        rows = await self._table.get_each([_name_data_file(backfill, name) for name in names])
        found = [parse_item(row, Converted) for row in rows]
        return {each.name: each for each in found}

    async def scan_converted(self, backfill: Backfill) -> dict[str, Converted]:
        """Read which data files are done where their names are not known. Reads the whole table, consistently.

        Args:
            backfill: whose data files are asked for.

        Returns:
            As `converted`.
        """
        kind = _name_data_file(backfill, "")
        found = [parse_item(row, Converted) async for row in self._table.scan(kind, backfill.pipeline)]
        return {each.name: each for each in found}


def _name_item(backfill: Backfill) -> str:
    return f"E#{backfill.pipeline}#{backfill.epoch}#{backfill.name}"


def _name_data_file(backfill: Backfill, name: str) -> str:
    return f"X#{backfill.pipeline}#{backfill.epoch}#{backfill.name}#{name}"
