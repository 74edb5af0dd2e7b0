"""One contract for both engines, over the wire: the SQL that the product rests on does the same on each."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from backports import zstd

from fastetl.local.warehouse.data_api import WarehouseServer
from fastetl.local.warehouse.duckdb_engine import DuckDBEngine
from fastetl.local.warehouse.engine import Engine
from fastetl.local.warehouse.postgres_engine import PostgresEngine
from fastetl.sql.tables import ddl_sql
from tests.local.product import NUMBER, Batch, make_pipeline
from tests.local.warehouse_client import Warehouse

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = [
    "",
    " ",
    "a,b",
    'say "so"',
    "line\nfeed",
    "carriage\r\nreturn",
    "é😀",
    "\\N?",
    "\\",
    "'; DROP",
    "null",
    "\t|",
    "NULL",
]
TYPES = {
    "k": "VARCHAR(400) COLLATE CASE_SENSITIVE", "c": "CHAR(4)", "s": "SUPER", "b": "VARBYTE(4)", "z": "TIMESTAMPTZ",
    "t": "TIMESTAMP", "d": "DATE", "n": "DECIMAL(38,10)", "o": "BOOLEAN", "r": "REAL", "f": "DOUBLE PRECISION",
    "i2": "SMALLINT", "i4": "INTEGER", "i8": "BIGINT",
}  # fmt: skip
VALUES = {
    "k": "S=é;", "c": "ab", "s": '{"n":12345678901234567890123456789012345678,"a":1,"Z":[null,"é"]}', "b": "00FF",
    "z": "2013-01-01 05:00:00.123456+00", "t": "2013-01-01 05:00:00.5", "d": "2013-01-01",
    "n": "-1234567890123456789012345678.0123456789", "o": "true", "r": "1.5", "f": "1e+300", "i2": "-32768",
    "i4": "2147483647", "i8": "-9223372036854775808",
}  # fmt: skip


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return DuckDBEngine() if request.param == "duckdb" else PostgresEngine()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(engine: Engine, s3: Any) -> AsyncIterator[WarehouseServer]:
    async with WarehouseServer(engine, s3, time.time) as server:
        yield server


@pytest.fixture
def warehouse(server: WarehouseServer) -> Warehouse:
    return Warehouse(server)


@pytest_asyncio.fixture(loop_scope="module")
async def schema(warehouse: Warehouse) -> str:
    """A schema of the test's own."""
    name = f"s{uuid.uuid4().hex}"
    described = await warehouse.execute(f"CREATE SCHEMA {name}")
    assert described["Status"] == "FINISHED", described
    return name


def put(s3: Any, body: bytes) -> str:
    key = f"files/{uuid.uuid4()}"
    s3.put_object(Bucket="lake", Key=key, Body=body)
    return f"s3://lake/{key}"


def put_csv(s3: Any, rows: Sequence[Sequence[str]], **dialect: Any) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n", **dialect).writerows(rows)
    return put(s3, file.getvalue().encode())


def put_manifest(s3: Any, *urls: str, mandatory: bool = True) -> str:
    return put(s3, json.dumps({"entries": [{"url": url, "mandatory": mandatory} for url in urls]}).encode())


def copy_sql(table: str, url: str, options: str = "") -> str:
    return f"COPY {table} FROM '{url}' IAM_ROLE default FORMAT AS CSV QUOTE AS '\"' {options}"


def finished(described: dict[str, Any]) -> dict[str, Any]:
    assert described["Status"] == "FINISHED", described["Error"]
    return described


async def copied(warehouse: Warehouse, table: str, url: str, options: str = "") -> int:
    """How many rows a COPY that must succeed loaded."""
    loaded: int = finished(await warehouse.execute(copy_sql(table, url, options)))["ResultRows"]
    return loaded


async def copy_failure(warehouse: Warehouse, table: str, url: str, options: str = "") -> str:
    described = await warehouse.execute(copy_sql(table, url, options))
    assert described["Status"] == "FAILED"
    return str(described["Error"])


async def test_every_type_comes_out_as_it_went_in(warehouse: Warehouse, schema: str, s3: Any) -> None:
    columns = ", ".join(f'"{name}" {kind}' for name, kind in TYPES.items())
    finished(await warehouse.execute(f'CREATE TABLE {schema}.t ({columns}) DISTSTYLE KEY DISTKEY ("k") SORTKEY ("t")'))
    url = put_csv(s3, [list(VALUES.values()), ["", "", *[""] * 12], ["\\N"] * 14, ["\\N", "x", "null", *["\\N"] * 11]])
    assert await copied(warehouse, f"{schema}.t", url) == 4
    values = dict(VALUES, b="00ff", i2=-32768, i4=2**31 - 1, i8=-(2**63), o=True, r=1.5, f=1e300)
    assert await warehouse.rows(f"SELECT * FROM {schema}.t WHERE i4 IS NOT NULL") == [tuple(values.values())]
    rest = await warehouse.rows(f"SELECT k, c, s, b, n, o FROM {schema}.t WHERE i4 IS NULL ORDER BY k, c")
    assert sorted(rest, key=str) == sorted(
        [("", "", *[None] * 4), (None,) * 6, (None, "x", "null", *[None] * 3)], key=str
    )


async def test_hostile_text_survives(warehouse: Warehouse, schema: str, s3: Any) -> None:
    finished(await warehouse.execute(f"CREATE TABLE {schema}.t (i INTEGER, v VARCHAR(64), s SUPER)"))
    rows = [(str(place), text, json.dumps({text: text})) for place, text in enumerate(HOSTILE)]
    for options in ({}, {"delimiter": "\t"}, {"delimiter": "|"}):
        url = put_csv(s3, rows, **options)
        finished(await warehouse.execute(f"DELETE FROM {schema}.t"))
        delimiter = f"DELIMITER '{options.get('delimiter', ',')}'".replace("\t", "\\t")
        assert await copied(warehouse, f"{schema}.t", url, delimiter) == len(HOSTILE)
        found = await warehouse.rows(f"SELECT v, s FROM {schema}.t ORDER BY i")
        assert found == [(text, document) for _, text, document in rows]


async def test_a_document_is_no_text_where_it_is_longer_than_a_varchar(warehouse: Warehouse, schema: str) -> None:
    finished(await warehouse.execute(f"CREATE TABLE {schema}.t (i INTEGER, s SUPER)"))
    fits = "x" * (65_535 - len('""'))
    for number, text in enumerate((fits, f"{fits}x")):
        finished(await warehouse.execute(f"INSERT INTO {schema}.t VALUES ({number}, JSON_PARSE('\"{text}\"'))"))
    serialized = f"SELECT JSON_SERIALIZE(s) FROM {schema}.t WHERE i = "
    assert await warehouse.rows(f"{serialized}0") == [(f'"{fits}"',)]
    assert "over 65535 bytes" in (await warehouse.execute(f"{serialized}1"))["Error"]
    assert await warehouse.rows(
        f"SELECT i FROM {schema}.t WHERE JSON_SERIALIZE_TO_VARBYTE(s) <> CAST('\"{fits}\"' AS VARBYTE)"
    ) == [(1,)]


async def test_the_column_list_gives_the_order(warehouse: Warehouse, schema: str, s3: Any) -> None:
    finished(await warehouse.execute(f"CREATE TABLE {schema}.t (a INTEGER, b INTEGER, c INTEGER)"))
    assert await copied(warehouse, f'{schema}.t ("C", a)', put_csv(s3, [["1", "2"]])) == 1
    assert await warehouse.rows(f"SELECT a, b, c FROM {schema}.t") == [(2, None, 1)]
    assert "does not exist" in await copy_failure(warehouse, f"{schema}.t (a, x)", put_csv(s3, [["1", "2"]]))
    assert "nonexistent table" in await copy_failure(warehouse, f"{schema}.x", put_csv(s3, [["1", "2"]]))


async def test_compression(warehouse: Warehouse, schema: str, s3: Any) -> None:
    finished(await warehouse.execute(f"CREATE TABLE {schema}.t (a INTEGER)"))
    body = b"1\n2\n"
    assert await copied(warehouse, f"{schema}.t", put(s3, gzip.compress(body)), "GZIP") == 2
    assert await copied(warehouse, f"{schema}.t", put(s3, zstd.compress(body)), "ZSTD") == 2
    for options, bad in [
        ("GZIP", body), ("GZIP", gzip.compress(body)[:-4]), ("GZIP", gzip.compress(body) * 2),
        ("ZSTD", body), ("ZSTD", zstd.compress(body)[:-2]), ("ZSTD", zstd.compress(body) * 2),
    ]:  # fmt: skip
        assert "Load into table 't' failed" in await copy_failure(warehouse, f"{schema}.t", put(s3, bad), options)
    assert await warehouse.rows(f"SELECT COUNT(*) FROM {schema}.t") == [(4,)]


async def test_manifests(warehouse: Warehouse, schema: str, s3: Any) -> None:
    finished(await warehouse.execute(f"CREATE TABLE {schema}.t (a INTEGER)"))
    one, two, missing = put(s3, b"1\n"), put(s3, b"2\n3\n"), "s3://lake/nothing"
    assert await copied(warehouse, f"{schema}.t", put_manifest(s3, one, two), "MANIFEST") == 3
    assert await copied(warehouse, f"{schema}.t", put_manifest(s3, one, one), "MANIFEST") == 2
    assert await copied(warehouse, f"{schema}.t", put_manifest(s3, one, missing, mandatory=False), "MANIFEST") == 1
    said = await copy_failure(warehouse, f"{schema}.t", put_manifest(s3, one, missing), "MANIFEST")
    assert "Status 404,Error NoSuchKey" in said
    assert "No files" in await copy_failure(warehouse, f"{schema}.t", put_manifest(s3), "MANIFEST")
    assert "manifest" in await copy_failure(warehouse, f"{schema}.t", one, "MANIFEST")
    assert await warehouse.rows(f"SELECT COUNT(*) FROM {schema}.t") == [(6,)]


async def test_without_a_manifest_the_url_is_a_prefix(warehouse: Warehouse, schema: str, s3: Any) -> None:
    finished(await warehouse.execute(f"CREATE TABLE {schema}.t (a INTEGER)"))
    for name in ("x1", "x2"):
        s3.put_object(Bucket="lake", Key=f"{schema}/{name}", Body=b"1\n")
    assert await copied(warehouse, f"{schema}.t", f"s3://lake/{schema}/x") == 2
    assert "does not exist" in await copy_failure(warehouse, f"{schema}.t", f"s3://lake/{schema}/y")


async def test_maxerror_drops_rows_up_to_its_number(warehouse: Warehouse, schema: str, s3: Any) -> None:
    finished(await warehouse.execute(f"CREATE TABLE {schema}.t (a INTEGER)"))
    url = put(s3, b"1\nx\n2\ny\n3\n")
    for options in ("", "MAXERROR 0", "MAXERROR AS 1", "MAXERROR 2"):
        await copy_failure(warehouse, f"{schema}.t", url, options)
    described = finished(await warehouse.execute(copy_sql(f"{schema}.t", url, "MAXERROR 3")))
    assert described["ResultRows"] == 3
    errors = f"SELECT line_number FROM sys_load_error_detail WHERE query_id = {described['RedshiftQueryId']} ORDER BY 1"
    assert await warehouse.rows(errors) == [(2,), (4,)]


async def test_load_errors_outlive_the_rollback(warehouse: Warehouse, schema: str, s3: Any) -> None:
    good, bad = put_csv(s3, [["1", "ok"]]), put_csv(s3, [["1", "ok"], ["2", "naïve"]])
    described = await warehouse.batch(
        f"CREATE TABLE {schema}.t (a INTEGER, b VARCHAR(5))",
        copy_sql(f"{schema}.t", put_manifest(s3, good, bad), "MANIFEST"),
    )
    assert described["Error"].startswith("Query #2 failed with ERROR: Load into table 't' failed.")
    assert "does not exist" in (await warehouse.execute(f"SELECT * FROM {schema}.t"))["Error"]
    query_id = described["SubStatements"][1]["RedshiftQueryId"]
    found = await warehouse.rows(
        "SELECT TRIM(file_name), line_number, TRIM(column_name), TRIM(column_type), TRIM(column_length), error_code,"
        f" TRIM(error_message) FROM sys_load_error_detail WHERE query_id = {query_id}"
    )
    assert found == [(bad, 2, "b", "varchar", "5", 1204, "String length exceeds DDL length")]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"1\n", 1213),
        (b"1,2,3\n", 1202),
        (b'1,"open\n', 1216),
        (b'1,"a"b\n', 1216),
        (b"1,\xff\n", 1220),
        (b"1,a\x00b\n", 1218),
        (b"\n", 1213),
    ],
)
async def test_lines_that_are_no_rows(warehouse: Warehouse, schema: str, s3: Any, body: bytes, code: int) -> None:
    finished(await warehouse.execute(f"CREATE TABLE {schema}.t (a INTEGER, b VARCHAR(9))"))
    described = await warehouse.execute(copy_sql(f"{schema}.t", put(s3, b"7,x\n" + body)))
    assert described["Status"] == "FAILED"
    errors = (
        f"SELECT line_number, error_code FROM sys_load_error_detail WHERE query_id = {described['RedshiftQueryId']}"
    )
    assert await warehouse.rows(errors) == [(2, code)]


async def test_rows_over_lines_are_counted_by_lines_and_a_header_can_be_passed_over(
    warehouse: Warehouse, schema: str, s3: Any
) -> None:
    finished(await warehouse.execute(f"CREATE TABLE {schema}.t (a INTEGER, b VARCHAR(9))"))
    url = put(s3, b'a,b\n1,"x\ny"\nz,1\n')
    described = await warehouse.execute(copy_sql(f"{schema}.t", url, "IGNOREHEADER 1"))
    errors = (
        f"SELECT line_number, column_name FROM sys_load_error_detail WHERE query_id = {described['RedshiftQueryId']}"
    )
    assert await warehouse.rows(errors) == [(4, "a")]


async def test_varchar_is_limited_in_bytes_for_inserts_as_well(warehouse: Warehouse, schema: str) -> None:
    finished(await warehouse.execute(f"CREATE TABLE {schema}.t (a VARCHAR(4), b CHAR(2))"))
    finished(await warehouse.execute(f"INSERT INTO {schema}.t VALUES ('éé', 'ab')"))
    assert (await warehouse.execute(f"INSERT INTO {schema}.t VALUES ('ééé', 'ab')"))["Status"] == "FAILED"
    assert (await warehouse.execute(f"INSERT INTO {schema}.t VALUES ('é', 'abc')"))["Status"] == "FAILED"


async def test_text_is_compared_by_bytes(warehouse: Warehouse, schema: str) -> None:
    finished(await warehouse.execute(f"CREATE TABLE {schema}.t (v VARCHAR(64))"))
    texts = ["0001#2013-01-01T00:00:00.000#01", "0001#2013-01-01T00:00:00.000#1", "A", "Z", "_", "a", "b", "é", "😀"]
    values = ", ".join(f"('{text}')" for text in reversed(texts))
    finished(await warehouse.execute(f"INSERT INTO {schema}.t VALUES {values}"))
    assert await warehouse.rows(f"SELECT v FROM {schema}.t ORDER BY v") == [(text,) for text in texts]


async def test_merge_updates_and_inserts(warehouse: Warehouse, schema: str) -> None:
    described = await warehouse.batch(
        f"CREATE TABLE {schema}.t (k VARCHAR(9), v INTEGER, w SUPER)",
        f"INSERT INTO {schema}.t VALUES ('a', 1, NULL), ('b', 2, NULL)",
        "CREATE TEMP TABLE w (k VARCHAR(9), v INTEGER, w SUPER)",
        "INSERT INTO w VALUES ('b', 3, JSON_PARSE('{\"x\":1}')), ('c', 4, NULL), ('a', 0, NULL)",
        f"DELETE FROM w USING {schema}.t WHERE w.k = t.k AND w.v <= t.v",
        f'MERGE INTO "{schema}"."t" USING w ON "t"."k" = w."k" WHEN MATCHED THEN UPDATE SET "v" = w."v", "w" = w."w"'
        ' WHEN NOT MATCHED THEN INSERT ("k", "v", "w") VALUES (w."k", w."v", w."w")',
        "DROP TABLE w",
    )
    finished(described)
    assert [sub["ResultRows"] for sub in described["SubStatements"]] == [-1, 2, -1, 3, 1, 2, -1]
    assert await warehouse.rows(f"SELECT k, v, w FROM {schema}.t ORDER BY k") == [
        ("a", 1, None), ("b", 3, '{"x":1}'), ("c", 4, None),
    ]  # fmt: skip


async def test_merge_refuses_two_rows_for_one(warehouse: Warehouse, schema: str) -> None:
    described = await warehouse.batch(
        f"CREATE TABLE {schema}.t (k INTEGER, v INTEGER)",
        f"INSERT INTO {schema}.t VALUES (1, 1)",
        "CREATE TEMP TABLE w AS SELECT 1 AS k, 2 AS v UNION ALL SELECT 1, 3",
        f"MERGE INTO {schema}.t USING w ON t.k = w.k WHEN MATCHED THEN UPDATE SET v = w.v"
        " WHEN NOT MATCHED THEN INSERT (k, v) VALUES (w.k, w.v)",
    )
    assert described["Error"] == "Query #4 failed with ERROR: Found multiple matches to update the same tuple."


async def test_the_newest_row_of_each_key(warehouse: Warehouse, schema: str) -> None:
    finished(await warehouse.execute(f"CREATE TABLE {schema}.t (k VARCHAR(9), v VARCHAR(9), at TIMESTAMP)"))
    rows = "('a', '1', '2013-01-01'), ('a', '2', '2013-01-03'), ('b', '1', '2013-01-02')"
    finished(await warehouse.execute(f"INSERT INTO {schema}.t VALUES {rows}"))
    ranked = f"SELECT k, v, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC) AS _rank FROM {schema}.t"
    assert await warehouse.rows(f'SELECT k, v FROM ({ranked}) AS "r" WHERE _rank = 1 ORDER BY k') == [
        ("a", "2"),
        ("b", "1"),
    ]
    finished(
        await warehouse.execute(
            f"CREATE OR REPLACE VIEW {schema}.h AS SELECT k, at, LEAD(at) OVER (PARTITION BY k ORDER BY v) AS until"
            f" FROM {schema}.t WITH NO SCHEMA BINDING"
        )
    )
    assert await warehouse.rows(f"SELECT until FROM {schema}.h WHERE k = 'a' ORDER BY at") == [
        ("2013-01-03 00:00:00",), (None,),
    ]  # fmt: skip
    between = f"SELECT COUNT(*) FROM {schema}.t WHERE at BETWEEN '2013-01-02' AND '2013-01-03 00:00:00.000000'"
    assert await warehouse.rows(between) == [(2,)]


async def test_names_are_folded_and_keys_not_enforced(warehouse: Warehouse, schema: str) -> None:
    finished(await warehouse.execute(f'CREATE TABLE {schema}."Mixed" ("Key" INTEGER PRIMARY KEY, UNIQUE ("Key"))'))
    finished(await warehouse.execute(f"INSERT INTO {schema}.mixed VALUES (1), (1)"))
    described = await warehouse.execute(f'SELECT "KEY" FROM {schema}.MIXED')
    page = await warehouse.call("get_statement_result", Id=described["Id"])
    assert (page["ColumnMetadata"][0]["name"], page["TotalNumRows"]) == ("key", 2)


async def test_the_columns_of_a_table_are_listed_with_their_declared_types(warehouse: Warehouse, schema: str) -> None:
    await warehouse.execute(f"CREATE TABLE {schema}.t ({', '.join(f'{name} {kind}' for name, kind in TYPES.items())})")
    await warehouse.execute(f"ALTER TABLE {schema}.t ADD COLUMN added DECIMAL(19,4)")
    names = "column_name, data_type, character_maximum_length, numeric_precision, numeric_scale"
    where = f"table_schema = '{schema}' AND table_name = 't' ORDER BY ordinal_position"
    rows = await warehouse.rows(f"SELECT {names} FROM svv_columns WHERE {where}")
    assert rows == [
        ("k", "character varying", 400, None, None), ("c", "character", 4, None, None),
        ("s", "super", None, None, None), ("b", "binary varying", 4, None, None),
        ("z", "timestamp with time zone", None, None, None), ("t", "timestamp without time zone", None, None, None),
        ("d", "date", None, None, None), ("n", "numeric", None, 38, 10), ("o", "boolean", None, None, None),
        ("r", "real", None, None, None), ("f", "double precision", None, None, None),
        ("i2", "smallint", None, None, None), ("i4", "integer", None, None, None), ("i8", "bigint", None, None, None),
        ("added", "numeric", None, 19, 4),
    ]  # fmt: skip


async def test_temporary_tables_end_with_their_statement(warehouse: Warehouse) -> None:
    finished(await warehouse.batch("CREATE TEMP TABLE once (a INTEGER)", "SELECT * FROM once"))
    assert "exist" in (await warehouse.execute("SELECT * FROM once"))["Error"]


async def test_creating_what_exists_changes_nothing(warehouse: Warehouse, schema: str, s3: Any) -> None:
    finished(await warehouse.execute(f"CREATE TABLE IF NOT EXISTS {schema}.t (a VARCHAR(2))"))
    finished(await warehouse.execute(f"CREATE TABLE IF NOT EXISTS {schema}.t (a VARCHAR(9), b INTEGER)"))
    assert "Load into table" in await copy_failure(warehouse, f"{schema}.t", put(s3, b"abc\n"))
    finished(await warehouse.execute(f"ALTER TABLE {schema}.t ADD COLUMN c VARCHAR(3)"))
    assert "Load into table" in await copy_failure(warehouse, f"{schema}.t", put(s3, b"ab,abcd\n"))
    assert await copied(warehouse, f"{schema}.t", put(s3, b"ab,abc\n")) == 1


async def test_lock_and_time(warehouse: Warehouse, schema: str) -> None:
    described = await warehouse.batch(
        f"CREATE TABLE {schema}.gate (n BIGINT, at TIMESTAMP)",
        f'/* fastetl lock */\nLOCK "{schema}"."gate"',
        f"INSERT INTO {schema}.gate SELECT 0, GETDATE()",
        f'UPDATE {schema}.gate SET "n" = "n" + 1',
    )
    assert [sub["ResultRows"] for sub in finished(described)["SubStatements"]] == [-1, -1, 1, 1]
    ((n, at, total),) = await warehouse.rows(f"SELECT n, at, SUM(n) OVER () FROM {schema}.gate")
    # SUM of BIGINT is NUMERIC(38,0), and that is text for the Data API.
    assert (n, total) == (1, "1")
    assert abs(time.time() - time.mktime(time.strptime(at, "%Y-%m-%d %H:%M:%S")) + time.timezone) < 60
    assert (await warehouse.execute(f"LOCK {schema}.nothing"))["Status"] == "FAILED"


async def test_integers_divide_to_integers(warehouse: Warehouse) -> None:
    assert await warehouse.rows("SELECT 7 / 2, CAST(7 AS DOUBLE PRECISION) / 2") == [(3, 3.5)]


async def test_refusals_reach_the_client(warehouse: Warehouse, schema: str) -> None:
    finished(await warehouse.execute(f"CREATE TABLE {schema}.t (a INTEGER)"))
    described = await warehouse.batch("SELECT 1", f"TRUNCATE {schema}.t")
    assert "Query #2 failed with ERROR: TRUNCATE commits" in described["Error"]
    finished(await warehouse.execute(f"TRUNCATE {schema}.t"))


async def test_many_at_once(warehouse: Warehouse, schema: str) -> None:
    finished(await warehouse.execute(f"CREATE TABLE {schema}.gate (n BIGINT)"))
    finished(await warehouse.execute(f"INSERT INTO {schema}.gate VALUES (0)"))
    bumps = [warehouse.batch(f"LOCK {schema}.gate", f"UPDATE {schema}.gate SET n = n + 1") for _ in range(20)]
    for described in await asyncio.gather(*bumps):
        finished(described)
    assert await warehouse.rows(f"SELECT n FROM {schema}.gate") == [(20,)]


async def test_the_products_statements(warehouse: Warehouse, s3: Any) -> None:
    pipeline = make_pipeline("whole")
    ddl = [statement.sql for statement in ddl_sql(pipeline)]
    finished(await warehouse.batch(*ddl))
    finished(await warehouse.batch(*ddl))
    newer = Batch(pipeline, s3, [[("a", 2, "MODIFY"), ("b", 10, "REMOVE")], [("a", 1, "INSERT"), ("c", 1, "INSERT")]])
    older = Batch(pipeline, s3, [[("b", 9, "MODIFY"), ("c", 2, "MODIFY"), ("a", 1, "INSERT")]])
    finished(await warehouse.batch(*newer.load_sql(1)))
    finished(await warehouse.batch(*older.load_sql(1)))
    current = 'SELECT "id", "_op", "amount", "document", TO_HEX("raw"), "seen" FROM public.whole_current ORDER BY 1'
    rest = (NUMBER, f'{{"n":{NUMBER}}}', "00ff", "2013-01-01 00:00:00+00")
    assert await warehouse.rows(current) == [("a", "MODIFY", *rest), ("c", "MODIFY", *rest)]
    assert await warehouse.rows('SELECT "_op", "amount" FROM public.whole WHERE "id" = \'b\'') == [("REMOVE", None)]
    assert await warehouse.rows("SELECT COUNT(*), COUNT(DISTINCT _event_id) FROM public.whole_log") == [(6, 6)]
    again = await warehouse.batch(*newer.load_sql(2))
    assert again["Error"].startswith("Query #4 failed with ERROR: ")
    finished(await warehouse.batch(*newer.resolve_sql(2)))
    unresolved = finished(await warehouse.batch(*Batch(pipeline, s3, []).resolve_sql(1)))
    verdict = await warehouse.call("get_statement_result", Id=f"{unresolved['Id']}:5")
    assert verdict["Records"] == [[{"stringValue": "fenced"}, {"stringValue": "1"}]]
