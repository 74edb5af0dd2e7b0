"""What the warehouse is asked beside loads: which files it has, and which of them a failed COPY blames. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from fastetl.config import Pipeline
from fastetl.model import LoadedBatch
from fastetl.sql.text import Statement, build_statements, quote_literal, quote_table

SLACK_SECONDS = 24 * 3600
"""By how much DynamoDB's clock and GETDATE may differ: GETDATE gives the time of the session's time zone (Redshift
Database Developer Guide, GETDATE), which may be another user default than UTC."""

ASKED_AT_ONCE = 2000
"""Files in one question: their ids take 72 KB of the 100 KB that a statement may have."""


def load_errors_sql(query_id: int, data_url: str, since: datetime) -> tuple[Statement, ...]:
    """Build the statement that asks which files a failed COPY blames.

    Rows are found by the query's id, or by the pipeline's files and the time: on a provisioned cluster the Data API and
    SYS_LOAD_ERROR_DETAIL number queries differently. Source of the columns: Amazon Redshift Database Developer Guide,
    "SYS_LOAD_ERROR_DETAIL". The message may quote a value: it goes into the ledger, and into no log.

    Args:
        query_id: the Data API's, of the COPY.
        data_url: what the addresses of the pipeline's files begin with.
        since: when the attempt began, or a little earlier; UTC, as the view's `start_time`.
    """
    begins = f'LEFT("file_name", {len(data_url):d}) = {quote_literal(data_url)}'
    moment = quote_literal(since.strftime("%Y-%m-%d %H:%M:%S"))
    sql = (
        'SELECT DISTINCT TRIM("file_name") AS "file_name", "line_number", TRIM("column_name") AS "column_name",'
        ' "error_code", TRIM("error_message") AS "error_message"'
        f' FROM "sys_load_error_detail" WHERE "query_id" = {query_id:d}'
        f' OR ("start_time" >= CAST({moment} AS TIMESTAMP) AND {begins}) ORDER BY 1, 2'
    )
    return build_statements(str(query_id), [("load_errors", sql)])


def loaded_files_sql(pipeline: Pipeline, file_ids: Iterable[str], since: str) -> tuple[Statement, ...]:
    """Build the statement that asks which of some files the warehouse has loaded.

    Args:
        pipeline: its bookkeeping tables are read.
        file_ids: at most `ASKED_AT_ONCE`.
        since: ISO 8601, UTC: before this time none of them was loaded.
    """
    asked = ", ".join(quote_literal(file_id) for file_id in file_ids)
    sql = (
        f'SELECT "file_id", "batch_id", "row_count" FROM {quote_table(pipeline, "_load_files")}'
        f' WHERE {is_since("loaded_at", since)} AND "file_id" IN ({asked})'
    )
    return build_statements(pipeline.name, [("loaded_files", sql)])


def find_since(changed_min: str, now_ms: int) -> str:
    """Tell the time before which files with changes of some age were not loaded: a load follows its changes.

    Args:
        changed_min: ISO 8601, UTC: the first change in any of the files.
        now_ms: Unix milliseconds. A change that says it is of the future tells nothing of when it was loaded.

    Returns:
        ISO 8601, UTC, whole seconds: `SLACK_SECONDS` before the first change; 1970 where that tells nothing.
    """
    changed = datetime.fromisoformat(changed_min).replace(tzinfo=UTC).timestamp()
    is_told = changed <= now_ms / 1000 + SLACK_SECONDS
    return datetime.fromtimestamp(max(0.0, changed - SLACK_SECONDS) if is_told else 0, UTC).strftime(
        "%Y-%m-%d %H:%M:%S"
    )


def is_since(when: str, since: str) -> str:
    """Build the condition that a row of bookkeeping is not older than a moment.

    Args:
        when: the column with the row's time.
        since: ISO 8601, UTC.
    """
    # Bookkeeping grows for years: without a bound on its sort key, each load would read all of it.
    return f'"{when}" >= CAST({quote_literal(since)} AS TIMESTAMP)'


def is_batch(batch_id: str, when: str, since: str) -> str:
    """Build the condition that a row of bookkeeping is of a batch.

    Args:
        batch_id: of the batch.
        when: the column with the row's time.
        since: ISO 8601, UTC: the row is not older.
    """
    return f'"batch_id" = {quote_literal(batch_id)} AND {is_since(when, since)}'


def missing_load(pipeline: Pipeline, last: LoadedBatch | None) -> str:
    """Build the query that has a row where the warehouse lacks a batch that it was seen to have: it was set back.

    Args:
        pipeline: its bookkeeping tables are read.
        last: the batch.

    Returns:
        An empty text where no batch is named.
    """
    if last is None or not last.batch_id:
        return ""
    loads, since = quote_table(pipeline, "_loads"), find_since(last.changed_min, last.began)
    attempt = f' AND "attempt" = {last.attempt:d}' if last.attempt else ""
    counted = f'SELECT COUNT(*) AS "there" FROM {loads} WHERE {is_batch(last.batch_id, "loaded_at", since)}{attempt}'
    return f'SELECT "there" FROM ({counted}) AS "last_load" WHERE "there" = 0'
