"""Backfills, `E#<pipeline>#<epoch>#<export>`, and the data files of their exports that are done, `X#…#<name>`.

The backfill that was written last is there once more as `E#<pipeline>`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fastetl.aws.ledger.items import parse_item, write_item
from fastetl.model import Backfill, Converted

if TYPE_CHECKING:
    from fastetl.aws.ledger.table import LedgerTable


class Backfills:
    """The backfills that a ledger has seen."""

    def __init__(self, table: LedgerTable) -> None:
        """Describe the backfills.

        Args:
            table: the ledger's.
        """
        self._table = table

    async def put(self, backfill: Backfill) -> None:
        """Write down a backfill and how far it is.

        Args:
            backfill: the item to write.
        """
        # Once more under the pipeline's name alone, where the coordinator looks for the latest.
        for pk in (f"E#{backfill.pipeline}#{backfill.epoch}#{backfill.name}", f"E#{backfill.pipeline}"):
            await self._table.call("put_item", Item=write_item({"pk": pk, **msgspec.to_builtins(backfill)}))

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

    async def scan(self, pipeline: str) -> tuple[Backfill, ...]:
        """Read all backfills of a pipeline, the oldest epoch's and export's first. Reads the whole table.

        Args:
            pipeline: its name.
        """
        found = [parse_item(row, Backfill) async for row in self._table.scan(f"E#{pipeline}#", pipeline)]
        return tuple(sorted(found, key=lambda each: (each.epoch, each.exported_at, each.export_id)))

    async def put_converted(self, backfill: Backfill, converted: Converted) -> None:
        """Write down that all files of a data file are registered.

        Args:
            backfill: that the data file belongs to.
            converted: the data file, with its counts.
        """
        pk = f"X#{backfill.pipeline}#{backfill.epoch}#{backfill.name}#{converted.name}"
        row = {"pk": pk, "pipeline": backfill.pipeline, **msgspec.to_builtins(converted)}
        await self._table.call("put_item", Item=write_item(row))

    async def converted(self, backfill: Backfill) -> dict[str, Converted]:
        """Read which data files are done, by name. Reads the whole table.

        Args:
            backfill: whose data files are asked for.

        Returns:
            The data files that are done, by their name in the export.
        """
        kind = f"X#{backfill.pipeline}#{backfill.epoch}#{backfill.name}#"
        found = [parse_item(row, Converted) async for row in self._table.scan(kind, backfill.pipeline)]
        return {each.name: each for each in found}
