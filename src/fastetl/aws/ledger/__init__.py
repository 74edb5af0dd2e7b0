"""The ledger: one DynamoDB table that says which files exist and which batch loads them."""

from __future__ import annotations

from fastetl.aws.ledger.backfills import Backfills
from fastetl.aws.ledger.batches import Batches
from fastetl.aws.ledger.files import Files
from fastetl.aws.ledger.ingest_errors import IngestErrors
from fastetl.aws.ledger.parts import Ledger
from fastetl.aws.ledger.table import TABLE_SCHEMA
from fastetl.aws.ledger.watermarks import Watermarks
from fastetl.aws.ledger.written_columns import ColumnRecord

__all__ = ["TABLE_SCHEMA", "Backfills", "Batches", "ColumnRecord", "Files", "IngestErrors", "Ledger", "Watermarks"]
