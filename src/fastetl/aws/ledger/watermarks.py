"""Up to when everything is loaded, `W#<pipeline>`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fastetl.aws.ledger.items import parse_item, write_item
from fastetl.aws.ledger.table import if_absent
from fastetl.model import Watermark

if TYPE_CHECKING:
    from fastetl.aws.ledger.table import LedgerTable


class Watermarks:
    """What the coordinator's looks have found."""

    def __init__(self, table: LedgerTable) -> None:
        """Describe the watermarks.

        Args:
            table: the ledger's.
        """
        self._table = table

    async def read(self, pipeline: str) -> Watermark | None:
        """Read a pipeline's watermark consistently; None before the coordinator's first look.

        Args:
            pipeline: its name.
        """
        row = await self._table.get(f"W#{pipeline}")
        return parse_item(row, Watermark) if row else None

    async def put(self, watermark: Watermark, known: Watermark | None) -> None:
        """Write a watermark down, provided that it is still `known`.

        Args:
            watermark: of now.
            known: as it was read before; None where there was none.

        Raises:
            StaleStepError: another coordinator has looked meanwhile.
        """
        pk = f"W#{watermark.pipeline}"
        if known is None:
            row = {"pk": pk, **msgspec.to_builtins(watermark)}
            await self._table.call("put_item", Item=write_item(row), **if_absent())
        else:
            await self._table.update(pk, msgspec.to_builtins(watermark), only_if={"checked_at": known.checked_at})
