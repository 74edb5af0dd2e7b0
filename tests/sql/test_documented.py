"""Every function and type in fastetl's own SQL is one that Redshift's documents have, each with its page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest

from fastetl.columns import RULES
from fastetl.columns.types import Column, RedshiftType
from fastetl.config.model import Grantee, Pipeline, RedshiftTarget
from fastetl.load.rehearsal import build_pipeline
from fastetl.local.warehouse.redshift_names import BEFORE_PARENTHESES, FUNCTIONS, RESERVED
from fastetl.model import LoadedBatch
from fastetl.operate.rehearsal_files import compare_sql
from fastetl.sql import (
    EVERYBODY,
    Load,
    Statement,
    add_column_sql,
    assume_role_sql,
    confirm_epoch_sql,
    copy_epochs_sql,
    copy_probe_sql,
    create_user_sql,
    ddl_sql,
    epochs_sql,
    gate_columns_sql,
    load_errors_sql,
    load_grants_sql,
    load_privileges,
    load_sql,
    loaded_files_sql,
    owner_sql,
    privileges_sql,
    read_grants_sql,
    replace_view_sql,
    resolve_sql,
    table_columns_sql,
    take_over_sql,
    tombstone_sql,
    user_sql,
    verify,
    view_columns_sql,
    view_names,
    view_readers_sql,
    widen_column_sql,
    write_epochs_sql,
)
from fastetl.versions import EpochStart
from tests.sql.test_sql import make_pipeline

OWNER = "lake/ledger/flights"
ID = "0" * 32

FUNCTION_PAGES = {
    "CAST": "CAST function",
    "COALESCE": "NVL and COALESCE functions",
    "COUNT": "COUNT function",
    "GETDATE": "GETDATE function",
    "HAS_ASSUMEROLE_PRIVILEGE": "HAS_ASSUMEROLE_PRIVILEGE",
    "HAS_DATABASE_PRIVILEGE": "HAS_DATABASE_PRIVILEGE",
    "HAS_SCHEMA_PRIVILEGE": "HAS_SCHEMA_PRIVILEGE",
    "HAS_TABLE_PRIVILEGE": "HAS_TABLE_PRIVILEGE",
    "JSON_SERIALIZE": "JSON_SERIALIZE function",
    "JSON_SERIALIZE_TO_VARBYTE": "JSON_SERIALIZE_TO_VARBYTE function",
    "LEAD": "LEAD window function",
    "LEFT": "LEFT and RIGHT functions",
    "MAX": "MAX function",
    "MIN": "MIN function",
    "MD5": "MD5 function",
    "ROW_NUMBER": "ROW_NUMBER window function",
    "SUBSTRING": "SUBSTRING function",
    "SUM": "SUM function",
    "TO_HEX": "TO_HEX function",
    "TRIM": "TRIM function",
}
"""Amazon Redshift Database Developer Guide."""

TYPE_PAGES = {
    "SMALLINT": "Numeric types",
    "INTEGER": "Numeric types",
    "BIGINT": "Numeric types",
    "DECIMAL": "Numeric types",
    "REAL": "Numeric types",
    "DOUBLE PRECISION": "Numeric types",
    "CHAR": "Character types",
    "VARCHAR": "Character types",
    "BOOLEAN": "Boolean type",
    "VARBYTE": "VARBYTE type",
    "DATE": "Datetime types",
    "TIMESTAMP": "Datetime types",
    "TIMESTAMPTZ": "Datetime types",
    "TIME": "Datetime types",
    "TIMETZ": "Datetime types",
    "SUPER": "SUPER type",
}
"""Amazon Redshift Database Developer Guide."""

_SQL = """
ADD ALTER AUTO BINDING BY CASE_SENSITIVE COMPUPDATE COPY CSV DATABASE DATEFORMAT DELETE DELIMITER DISTKEY DISTSTYLE DROP
EXISTS FORMAT IAM_ROLE IF INSERT INTO KEY LOCK MANIFEST MATCHED MAXERROR MERGE NO OVER PASSWORD PUBLIC QUOTE REPLACE
ROLE SCHEMA SET SORTKEY STATUPDATE TEMP TIMEFORMAT TYPE UPDATE USAGE VALUES VIEW ZSTD
"""
"""Words of its syntax that are not reserved."""

_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|/\*.*?\*/""", re.DOTALL)
_CALLED = re.compile(r"\b([A-Za-z_]\w*)\s*\(")
_WORD = re.compile(r"\b[A-Za-z_]\w*\b")


def every_statement() -> Iterator[Statement]:
    """Everything that fastetl sends to Redshift, of pipelines with all that there is to choose."""
    columns = [Column(kind.lower(), (kind,), RedshiftType.parse(kind)) for kind in RULES]
    redshift = RedshiftTarget(
        workgroup="w", load_user="IAMR:loader", iam_role="arn:aws:iam::123456789012:role/copy",
        grant_to=(Grantee("role", "bi"), Grantee("group", "people"), Grantee("user", "alice"), EVERYBODY),
    )  # fmt: skip
    one = make_pipeline(redshift=redshift, columns=(*make_pipeline().columns, *columns))
    for pipeline in (one, msgspec.structs.replace(one, deletes="keep"), make_pipeline(outputs=frozenset({"log"}))):
        yield from of_pipeline(pipeline)
    rehearsed = build_pipeline(one, "0" * 12)
    for null in (True, False):
        yield Statement("compare", compare_sql(rehearsed, 1, rehearsed.columns[1:], null=null))


def of_pipeline(pipeline: Pipeline) -> Iterator[Statement]:
    url, moment = "s3://lake/manifest", "2026-01-01 00:00:00.000000"
    load = Load(
        ID, 1, pipeline.layout, url, ID, url, moment, moment, moment, OWNER, source="stream-1", latest_epoch=2,
        foreign_epoch=1, former_columns=((pipeline.name, ("gone",)),),
    )  # fmt: skip
    privileges = load_privileges(pipeline)
    yield from (*ddl_sql(pipeline), *load_sql(pipeline, load), *resolve_sql(pipeline, OWNER, ID, 1, moment, url))
    yield from (*load_errors_sql(1, url, datetime(2026, 1, 1, tzinfo=UTC)), *loaded_files_sql(pipeline, [ID], moment))
    yield from (*copy_probe_sql(pipeline, url), *table_columns_sql(pipeline), *view_columns_sql(pipeline))
    yield from (*load_grants_sql(pipeline, privileges), *privileges_sql(pipeline, privileges), *user_sql(pipeline))
    yield from (*read_grants_sql(pipeline), *view_readers_sql(pipeline), *assume_role_sql(pipeline))
    yield from (
        *create_user_sql(pipeline),
        *owner_sql(pipeline),
        *gate_columns_sql(pipeline),
        *take_over_sql(pipeline, OWNER),
        *epochs_sql(pipeline, reached=True),
    )
    yield from (
        *write_epochs_sql(pipeline, OWNER, [EpochStart(1, 0)], EpochStart(2, 60)),
        *write_epochs_sql(pipeline, OWNER, [], carried=[EpochStart(1, 0), EpochStart(2, 60)]),
        *copy_epochs_sql(pipeline, pipeline),
    )
    yield from confirm_epoch_sql(pipeline, OWNER, 2, "backfill")
    for name in view_names(pipeline):
        yield from replace_view_sql(pipeline, name, pipeline.redshift.grant_to)
    yield Statement("alter", add_column_sql(pipeline, "", "more", RedshiftType.parse("VARCHAR(20)")))
    yield Statement("alter", widen_column_sql(pipeline, "", "more", RedshiftType.parse("VARCHAR(40)")))
    if "mirror" in pipeline.outputs:
        former = ((pipeline.name, ("gone",)),)
        last = LoadedBatch("b", attempt=1, changed_min="2026-01-01 00:00:00")
        yield from tombstone_sql(pipeline, OWNER, 1, 0, former, follows=last)
        yield from verify.compare_sql(pipeline, (pipeline,), pipeline.layout, url, below=1)
        yield from verify.repair_sql(pipeline, OWNER, pipeline.layout, url, former)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Every statement without comments, literals and quoted names."""
    return [_QUOTED.sub(" ", each.sql) for each in every_statement()]


def test_every_function_has_a_page_of_the_documents(texts: list[str]) -> None:
    called = {name.upper() for text in texts for name in _CALLED.findall(text)} - BEFORE_PARENTHESES
    # Before a list of columns there may be the name of a table, which is quoted.
    assert called - {"COPY", "INTO", "TABLE"} == set(FUNCTION_PAGES)
    assert set(FUNCTION_PAGES) <= FUNCTIONS


def test_every_type_has_a_page_of_the_documents() -> None:
    assert set(RULES) == set(TYPE_PAGES)


def test_every_name_is_quoted(texts: list[str]) -> None:
    """What is not in quotes is a word of SQL, a function or a type: no name of anybody's."""
    words = {word.upper() for text in texts for word in _WORD.findall(text)}
    types = {word for kind in TYPE_PAGES for word in kind.split()}
    sql = set(_SQL.split())
    assert words - RESERVED - FUNCTIONS - types - sql - BEFORE_PARENTHESES == set()
