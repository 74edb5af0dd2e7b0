"""The ledger as a whole: its parts by name, over one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastetl.aws.ledger.backfills import Backfills
from fastetl.aws.ledger.batches import Batches
from fastetl.aws.ledger.files import Files
from fastetl.aws.ledger.ingest_errors import IngestErrors
from fastetl.aws.ledger.table import LedgerTable
from fastetl.aws.ledger.watermarks import Watermarks
from fastetl.aws.ledger.written_columns import ColumnRecord

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient


class Ledger:
    """One ledger table. Every method of its parts raises `LedgerError` when DynamoDB does not do what was asked."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        """Describe a ledger.

        Args:
            client: an open DynamoDB client.
            table: the table's name.
        """
        self.table = LedgerTable(client, table)
        self.files = Files(self.table)
        self.batches = Batches(self.table)
        self.backfills = Backfills(self.table)
        self.written_columns = ColumnRecord(self.table)
        self.ingest_errors = IngestErrors(self.table)
        self.watermarks = Watermarks(self.table)
