"""Which columns of a table loads have ever written, `C#<pipeline>#<schema.table>`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fastetl.aws.ledger.items import parse_item, write_item
from fastetl.aws.ledger.table import if_absent
from fastetl.model import WrittenColumns

if TYPE_CHECKING:
    from fastetl.aws.ledger.table import LedgerTable


class ColumnRecord:
    """What a ledger knows of the columns that loads have written."""

    def __init__(self, table: LedgerTable) -> None:
        """Describe the record.

        Args:
            table: the ledger's.
        """
        self._table = table

    async def read(self, pipeline: str, table: str) -> tuple[str, ...]:
        """Read which columns of a table loads have ever written, consistently.

        Args:
            pipeline: its name.
            table: of the warehouse.
        """
        row = await self._table.get(f"C#{pipeline}#{table}")
        return parse_item(row, WrittenColumns).columns if row else ()

    async def put(self, pipeline: str, table: str, columns: tuple[str, ...], known: tuple[str, ...]) -> None:
        """Record which columns of a table loads have ever written, provided that the record is still `known`.

        Args:
            pipeline: its name.
            table: of the warehouse.
            columns: their names.
            known: the record as it was read before.
        """
        pk = f"C#{pipeline}#{table}"
        if known:
            await self._table.update(pk, {"columns": columns}, only_if={"columns": known})
        else:
            row = {"pk": pk, **msgspec.to_builtins(WrittenColumns(pipeline, table, columns))}
            await self._table.call("put_item", Item=write_item(row), **if_absent())
