"""What ingest failed with last, `I#<pipeline>`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fastetl.aws.ledger.items import parse_item, write_item
from fastetl.model import IngestError

if TYPE_CHECKING:
    from fastetl.aws.ledger.table import LedgerTable


class IngestErrors:
    """The last error of ingest that a ledger keeps for each pipeline."""

    def __init__(self, table: LedgerTable) -> None:
        """Describe the errors.

        Args:
            table: the ledger's.
        """
        self._table = table

    async def put(self, failed: IngestError) -> None:
        """Write down what ingest failed with last.

        Args:
            failed: the pipeline, when, and the message without item content.
        """
        row = {"pk": f"I#{failed.pipeline}", **msgspec.to_builtins(failed)}
        await self._table.call("put_item", Item=write_item(row))

    async def read(self, pipeline: str) -> IngestError | None:
        """Read what ingest failed with last; None where it never did.

        Args:
            pipeline: its name.
        """
        row = await self._table.get(f"I#{pipeline}")
        return parse_item(row, IngestError) if row else None
