"""AWS's limits that fastetl keeps to, each with its source. Sizes are bytes unless the name says otherwise."""

from __future__ import annotations

# --- Amazon Redshift Database Developer Guide ------------------------------------------------------------------------

MAX_IDENTIFIER_BYTES = 127
"""A name of a table or a column, without its quotes ("Names and identifiers")."""

MAX_CHAR_BYTES = 4096
MAX_VARCHAR_BYTES = 65_535
"""CHAR and VARCHAR ("Character types")."""

MAX_VARBYTE_BYTES = 16_777_216
"""VARBYTE ("VARBYTE type")."""

MAX_PRECISION, MAX_SCALE = 38, 37
"""Decimal digits of DECIMAL ("Numeric types")."""

MAX_TABLE_COLUMNS = 1600
"""Columns of a table (CREATE TABLE, column_name)."""

MAX_SORT_COLUMNS = 400
"""Columns of a sort key (CREATE TABLE, SORTKEY)."""

MAX_SUPER_BYTES = 16_000_000
MAX_SUPER_TEXT_BYTES = MAX_VARCHAR_BYTES
MAX_SUPER_DEPTH = 1000
"""A SUPER value, one text inside it (longer ones have to be enabled in the database), and its nested levels
("Limitations" of semi-structured data). 16 MB is read as the lesser of its two meanings."""

MAX_COPY_ROW_BYTES = 4_000_000
"""One row of COPY's input ("COPY": 4 MB, read as the lesser of its two meanings)."""

# --- Amazon Redshift Data API reference ------------------------------------------------------------------------------

MAX_STATEMENTS = 40
"""SQL statements in one BatchExecuteStatement (`Sqls`)."""

MAX_SQL_BYTES = 100_000
"""One SQL statement ("Considerations when calling the Amazon Redshift Data API": the maximum query statement size is
100 KB, read as the lesser of its two meanings)."""

MAX_RESULT_ROW_BYTES = 64 * 1024
"""One row of a result ("Troubleshooting issues for Amazon Redshift Data API")."""

# --- Amazon S3 User Guide, "Multipart upload limits" -----------------------------------------------------------------

MIN_PART_BYTES, MAX_PART_BYTES = 5 * 1024**2, 5 * 1024**3
"""A part of a multipart upload; the last one may be smaller."""

MAX_PARTS = 10_000

# --- Amazon DynamoDB Developer Guide ---------------------------------------------------------------------------------

MIN_NUMBER_EXPONENT, MAX_NUMBER_EXPONENT = -130, 125
"""Decimal exponents of a number's first digit ("Supported data types and naming rules": Number)."""

MAX_ATTRIBUTE_NAME_BYTES = 65_535
"""An attribute's name ("Supported data types and naming rules": 64 KB)."""

MAX_BATCH_GET_KEYS = 100
"""Keys in one BatchGetItem (API reference, BatchGetItem)."""

STREAM_KEEPS_SECONDS = 24 * 3600
"""How long a stream keeps a change ("Change data capture for DynamoDB Streams")."""

# --- AWS Lambda Developer Guide --------------------------------------------------------------------------------------

MAX_PAYLOAD_BYTES = 6 * 1024**2
"""An event, and a response ("Lambda quotas")."""

MEMORY_MB_PER_CPU = 1769
"""The memory at which a function has one processor ("Configure Lambda function memory")."""
