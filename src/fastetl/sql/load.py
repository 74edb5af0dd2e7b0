"""The statements of the load protocol, as values built by pure functions.

One attempt to load a batch is one transaction, `load_sql`; finding out how an attempt ended is another,
`resolve_sql`. `docs/architecture.md` says why each step is there.
"""

from __future__ import annotations

from datetime import UTC, datetime

from fastetl.config import Pipeline
from fastetl.model import Layout
from fastetl.sql.epochs import latest_resync, refuse_early_stamps
from fastetl.sql.gate import gate_steps, refuse
from fastetl.sql.group import load_group
from fastetl.sql.mirror import append_to_log, merge_into_mirror
from fastetl.sql.questions import is_batch, is_since, missing_load
from fastetl.sql.staging import FILES, STAGED, Load, see_all
from fastetl.sql.text import (
    COUNT,
    FILE_ID,
    Statement,
    build_statements,
    define_columns,
    list_names,
    quote_literal,
    quote_table,
)

COPY_NULL = r"\N"
"""COPY's own marker, where NULL AS is left out (Redshift Database Developer Guide, "Data conversion parameters"). It is
not written into SQL: a literal escapes what follows a backslash, so that COPY might look for an N."""


_COMPRESSION = {"gzip": " GZIP", "zstd": " ZSTD", "none": ""}


def load_sql(pipeline: Pipeline, load: Load) -> tuple[Statement, ...]:
    """Build the one transaction that loads a batch: it commits all of the batch's files, or nothing.

    Args:
        pipeline: its target, outputs and columns.
        load: the batch, its attempt, its layout and where its manifest is.

    Returns:
        The statements in their order, each with the name of its step.
    """
    loads, fences = quote_table(pipeline, "_loads"), quote_table(pipeline, "_fences")
    targets, drops = _load_targets(pipeline, load)
    steps = [
        *gate_steps(pipeline, load.owner),
        ("gate_batch", refuse("loaded before", f"{loads} WHERE {is_batch(load.batch_id, 'loaded_at', load.since)}")),
        (
            "gate_fence",
            refuse(
                "fenced",
                f'{fences} WHERE {is_batch(load.batch_id, "fenced_at", load.since)} AND "attempt" >= {load.attempt:d}',
            ),
        ),
        *_gate_source(pipeline, load),
        *_stage_files(pipeline, load.files_url),
        (
            "gate_files",
            refuse(
                "file loaded before",
                f"{quote_table(pipeline, '_load_files')} WHERE {is_since('loaded_at', load.since)}"
                f' AND "file_id" IN (SELECT "file_id" FROM {FILES})',
            ),
        ),
        (
            "stage",
            f'CREATE TEMP TABLE {STAGED} ({define_columns(load.layout.columns)}) DISTSTYLE KEY DISTKEY ("_key")',
        ),
        (
            "copy",
            copy_into(pipeline, STAGED, [name for name, _ in load.layout.columns], load.manifest_url, load.layout),
        ),
        ("count", refuse("row counts differ", _miscounted())),
        ("stamps", _refuse_what_is_set_back(pipeline, load)),
        *[("pre_sql", sql) for sql in pipeline.load.pre_sql],
        *targets,
        *[("post_sql", sql) for sql in pipeline.load.post_sql],
        *_record(pipeline, load),
        *_record_source(pipeline, load),
        *drops,
    ]
    return build_statements(f"{load.batch_id}/{load.attempt}", steps)


def resolve_sql(
    pipeline: Pipeline, owner: str, batch_id: str, attempt: int, since: str, files_url: str = ""
) -> tuple[Statement, ...]:
    """Build the one transaction that settles how an attempt ended, and keeps it from committing later.

    It waits for a running attempt at the gate's lock. Its `verdict` has rows of `(what, detail)`: `loaded` with the
    manifest's checksum where the batch is committed, and `fenced` with the highest attempt that is fenced off. With
    `files_url` there is a `verdict_files` too: which of its files are loaded, by whichever batch, as `(file_id,
    batch_id)`.

    Args:
        pipeline: its bookkeeping tables are used.
        owner: as this stack names itself.
        batch_id: of the batch.
        attempt: that is fenced off.
        since: ISO 8601, UTC: before this time nothing of the batch was loaded.
        files_url: of the batch's list of files, to ask for each of them; empty to leave that out.
    """
    loads, fences = quote_table(pipeline, "_loads"), quote_table(pipeline, "_fences")
    loaded, fenced = (is_batch(batch_id, when, since) for when in ("loaded_at", "fenced_at"))
    standing = (
        f'SELECT "batch_id" FROM {loads} WHERE {loaded}'
        f' UNION ALL SELECT "batch_id" FROM {fences} WHERE {fenced} AND "attempt" >= {attempt:d}'
    )
    steps = [
        *gate_steps(pipeline, owner),
        (
            "fence",
            f'INSERT INTO {fences} ("batch_id", "attempt", "fenced_at")'
            f" SELECT {quote_literal(batch_id)}, {attempt:d}, GETDATE()"
            f' FROM (SELECT COUNT(*) AS "n" FROM ({standing}) AS "standing") AS "counted" WHERE "n" = 0',
        ),
        (
            "verdict",
            f'SELECT \'loaded\' AS "what", "manifest_checksum" AS "detail" FROM {loads} WHERE {loaded}'
            ' UNION ALL SELECT \'fenced\' AS "what", CAST(MAX("attempt") AS VARCHAR(64)) AS "detail"'
            f" FROM {fences} WHERE {fenced}",
        ),
    ]
    if files_url:
        steps += [
            *_stage_files(pipeline, files_url),
            (
                "verdict_files",
                f'SELECT "file_id", "batch_id" FROM {quote_table(pipeline, "_load_files")}'
                f' WHERE {is_since("loaded_at", since)} AND "file_id" IN (SELECT "file_id" FROM {FILES})',
            ),
            ("drop_files", f"DROP TABLE {FILES}"),
        ]
    return build_statements(f"{batch_id}/{attempt}", steps)


def copy_probe_sql(pipeline: Pipeline, url: str) -> tuple[Statement, ...]:
    """Build statements that read an object of one line, as `copy_files` reads a batch's list, and leave nothing behind.

    Args:
        pipeline: whose role reads it.
        url: of the object, `s3://bucket/key`.
    """
    return build_statements(pipeline.name, [*_stage_files(pipeline, url), ("drop_files", f"DROP TABLE {FILES}")])


def _gate_source(pipeline: Pipeline, load: Load) -> list[tuple[str, str]]:
    """Build the step that fails where changes of another source were loaded, and no resync lies between the two.

    Within an epoch nothing orders them, and an epoch alone orders only what is created after it has begun: what the
    sources say of the time before is in the export of a resync, or lost.
    """
    if not load.source:
        return []
    gate, epoch = quote_table(pipeline, "_gate"), load.source_epoch
    other = f'"source" <> \'\' AND "source" <> {quote_literal(load.source)}'
    earlier = f'CASE WHEN "source_epoch" < {epoch:d} THEN "source_epoch" ELSE {epoch:d} END'
    rows = f"{gate} WHERE {other} AND ({latest_resync(pipeline)}) <= {earlier}"
    return [("gate_source", refuse("another source", rows))]


def _record_source(pipeline: Pipeline, load: Load) -> list[tuple[str, str]]:
    if not load.source:
        return []
    gate, epoch = quote_table(pipeline, "_gate"), load.source_epoch
    sets = f'"source" = {quote_literal(load.source)}, "source_epoch" = {epoch:d}'
    return [("source", f'UPDATE {gate} SET {sets} WHERE "source_epoch" <= {epoch:d}')]


def _refuse_what_is_set_back(pipeline: Pipeline, load: Load) -> str:
    """Build the step that fails where ledger and warehouse are of two times: epochs or the last load are missing."""
    missing, latest = missing_load(pipeline, load.follows), max(load.latest_epoch, load.carried_epoch)
    return refuse_early_stamps(pipeline, STAGED, latest, missing, foreign=load.foreign_epoch)


def _stage_files(pipeline: Pipeline, files_url: str) -> list[tuple[str, str]]:
    columns = (("file_id", FILE_ID), ("row_count", COUNT))
    plain = Layout(columns, delimiter=",", compression="none", null_marker=COPY_NULL, encoder=0)
    return [
        ("stage_files", f"CREATE TEMP TABLE {FILES} ({define_columns(columns)})"),
        ("copy_files", copy_into(pipeline, FILES, ["file_id", "row_count"], files_url, plain, manifest=False)),
    ]


def copy_into(
    pipeline: Pipeline, into: str, columns: list[str], url: str, layout: Layout, *, manifest: bool = True
) -> str:
    """Build the COPY of files into a table.

    Args:
        pipeline: whose role reads them.
        into: the table, quoted.
        columns: of the files, in their order.
        url: of the manifest, or of the only file.
        layout: how the files are written.
        manifest: whether `url` is a manifest's.
    """
    role = pipeline.redshift.iam_role
    delimiter = r"\t" if layout.delimiter == "\t" else layout.delimiter
    null_as = "" if layout.null_marker == COPY_NULL else f" NULL AS {quote_literal(layout.null_marker)}"
    return (
        f"COPY {into} ({list_names(columns)}) FROM {quote_literal(url)}"
        f" IAM_ROLE {'default' if role == 'default' else quote_literal(role)}"
        f"{' MANIFEST' if manifest else ''}"
        f" FORMAT AS CSV QUOTE AS '\"' DELIMITER {quote_literal(delimiter)}{_COMPRESSION[layout.compression]}"
        f"{null_as} TIMEFORMAT 'auto' DATEFORMAT 'auto'"
        " COMPUPDATE OFF STATUPDATE OFF MAXERROR 0"
    )


def _miscounted() -> str:
    # An unbalanced quote can swallow lines without an error, so every file's rows are counted.
    found = f'SELECT "_file", COUNT(*) AS "row_count" FROM {STAGED} GROUP BY "_file"'
    return (
        f'{FILES} AS "expected" FULL OUTER JOIN ({found}) AS "found" ON "expected"."file_id" = "found"."_file"'
        ' WHERE COALESCE("expected"."row_count", -1) <> COALESCE("found"."row_count", -1)'
    )


def _load_targets(pipeline: Pipeline, load: Load) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Build the steps that change the targets' tables, and those that drop what the load has made."""
    if pipeline.parts:
        targets, tables = load_group(pipeline, load)
        return targets, [("drop", f"DROP TABLE {', '.join([STAGED, FILES, *tables])}")]
    drops = [("drop_staged", f"DROP TABLE {STAGED}"), ("drop_files", f"DROP TABLE {FILES}")]
    staged = see_all(pipeline, load.layout)
    log = append_to_log(pipeline, staged, load) if "log" in pipeline.outputs else []
    former_columns = dict(load.former_columns).get(pipeline.name, ())
    mirror = merge_into_mirror(pipeline, staged, former_columns) if "mirror" in pipeline.outputs else []
    return [*log, *mirror], drops


def _record(pipeline: Pipeline, load: Load) -> list[tuple[str, str]]:
    batch = quote_literal(load.batch_id)
    known = f"{datetime.fromtimestamp(load.complete_up_to / 1000, UTC):%Y-%m-%d %H:%M:%S.%f}"
    complete_up_to = f"CAST({quote_literal(known) if load.complete_up_to else 'NULL'} AS TIMESTAMP)"
    totals = f'SELECT COUNT(*) AS "files", SUM("row_count") AS "row_count" FROM {FILES}'
    return [
        (
            "load_files",
            f'INSERT INTO {quote_table(pipeline, "_load_files")} ("file_id", "batch_id", "row_count", "loaded_at")'
            f' SELECT "file_id", {batch}, "row_count", GETDATE() FROM {FILES}',
        ),
        (
            "loads",
            f"INSERT INTO {quote_table(pipeline, '_loads')}"
            ' ("batch_id", "attempt", "manifest_checksum", "files", "row_count", "loaded_at", "complete_up_to")'
            f" SELECT {batch}, {load.attempt:d}, {quote_literal(load.manifest_checksum)},"
            f' "files", "row_count", GETDATE(), {complete_up_to} FROM ({totals}) AS "totals"',
        ),
    ]
