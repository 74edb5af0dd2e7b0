"""Up to when everything is loaded, `W#<pipeline>`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.aws.ledger.items import parse_item
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

    async def put(self, watermark: Watermark, known: Watermark | None) -> Watermark:
        """Write a watermark down, provided that it is still `known`.

        Args:
            watermark: of now.
            known: as it was read before; None where there was none.

        Returns:
            The watermark as it was written.

        Raises:
            StaleStepError: another coordinator has looked meanwhile, or an operator has put a file back.
        """
        following = _count(watermark, known)
        await self._table.call("update_item", **self.writing(watermark, known))
        return following

    def writing(self, watermark: Watermark, known: Watermark | None) -> dict[str, Any]:
        """Build what `put` does, as a member of a transaction.

        Args:
            watermark: of now.
            known: as it was read before; None where there was none.

        Returns:
            Arguments of UpdateItem.
        """
        pk, changes = f"W#{watermark.pipeline}", msgspec.to_builtins(_count(watermark, known))
        if known is None:
            return {**self._table.writing(pk, changes), **if_absent()}
        return self._table.writing(pk, changes, only_if={"generation": known.generation})


def _count(watermark: Watermark, known: Watermark | None) -> Watermark:
    return msgspec.structs.replace(watermark, generation=known.generation + 1 if known else 1)
