"""Each rewrite on the module's list, and each refusal."""

from __future__ import annotations

import pytest

from fastetl.local.warehouse.engine import Dialect, SqlError, Table
from fastetl.local.warehouse.redshift_sql import Translated, _constraint, strip_comments, translate

MERGE = "MERGE INTO t USING w ON t.k = w.k"
UPDATE = "WHEN MATCHED THEN UPDATE SET v = w.v"
FORGET_VIEW = """DELETE FROM redshift_system.bound_views WHERE view_name = '"public"."v"'"""
INSERT = "WHEN NOT MATCHED THEN INSERT (k, v) VALUES (w.k, w.v)"


@pytest.mark.parametrize(
    ("sql", "duckdb", "postgres"),
    [
        ('SELECT "Key" FROM Public."T"', 'SELECT "key" FROM public."t"', 'SELECT "key" FROM public."t"'),
        (
            'CREATE TABLE t DISTSTYLE KEY DISTKEY ("k") SORTKEY ("k") BACKUP NO AS SELECT 1 AS k',
            "CREATE TABLE t AS SELECT 1 AS k",
            "CREATE TABLE t AS SELECT 1 AS k",
        ),
        (
            "CREATE VIEW v AS SELECT 1 AS k WITH NO SCHEMA BINDING",
            "CREATE VIEW v AS SELECT 1 AS k|" + FORGET_VIEW,
            "CREATE VIEW v AS SELECT 1 AS k|" + FORGET_VIEW,
        ),
        (
            "SELECT JSON_PARSE(a), JSON_SERIALIZE_TO_VARBYTE(b), CAST(c AS SUPER), TO_HEX(d) FROM t",
            "SELECT CAST(a AS JSON), encode(CAST(b AS TEXT)), CAST(c AS JSON), lower(hex(d)) FROM t",
            "SELECT CAST(a AS JSON), convert_to(CAST(b AS TEXT), 'UTF8'), CAST(c AS JSON), encode(d, 'hex') FROM t",
        ),
        (
            "SELECT GETDATE()",
            "SELECT date_trunc('second', CAST(get_current_timestamp() AS TIMESTAMP))",
            "SELECT date_trunc('second', statement_timestamp() AT TIME ZONE 'UTC')",
        ),
        (
            "SELECT SYSDATE",
            "SELECT CAST(get_current_timestamp() AS TIMESTAMP)",
            "SELECT (transaction_timestamp() AT TIME ZONE 'UTC')",
        ),
        (
            'LOCK TABLE a, "B"',
            'DELETE FROM "a" WHERE FALSE|DELETE FROM "b" WHERE FALSE',
            'LOCK TABLE "a", "b" IN ACCESS EXCLUSIVE MODE',
        ),
        ("SELECT '\\N', '\\\\N', 'a\\tb', 'it\\'s', '\\101'", *["SELECT 'N', '\\N', 'a\tb', 'it''s', 'A'"] * 2),
        ("SELECT '-- no \\comment', \"a\\b\" /* '\\N' */", *["SELECT '-- no comment', \"a\\b\""] * 2),
    ],
)
def test_rewrites(sql: str, duckdb: str, postgres: str) -> None:
    assert "|".join(translate(sql, "duckdb").sql) == duckdb
    assert "|".join(translate(sql, "postgres").sql) == postgres


@pytest.mark.parametrize(("dialect", "measure"), [("duckdb", "strlen"), ("postgres", "octet_length")])
def test_columns_keep_their_declared_types(dialect: Dialect, measure: str) -> None:
    translated = translate(
        'CREATE TABLE IF NOT EXISTS s.t ("K" VARCHAR(64) COLLATE CASE_SENSITIVE ENCODE zstd NOT NULL PRIMARY KEY,'
        ' c CHAR(2) UNIQUE, s SUPER, d DECIMAL(38,10), UNIQUE ("K")) DISTSTYLE KEY DISTKEY ("K")',
        dialect,
    )
    assert translated.unless_exists == Table("t", "s")
    create, *comments = translated.sql
    # Named, so that ALTER TABLE finds it again; DuckDB alters no table that has a check.
    named = [f" CONSTRAINT {_constraint(name)}" if dialect == "postgres" else "" for name in ("k", "c")]
    assert create == (
        f'CREATE TABLE IF NOT EXISTS s.t ("k" TEXT NOT NULL{named[0]} CHECK ({measure}("k") <= 64),'
        f' c TEXT{named[1]} CHECK ({measure}("c") <= 2), s JSON, d DECIMAL(38, 10))'
    )
    assert comments == [
        'COMMENT ON COLUMN "s"."t"."k" IS \'VARCHAR(64)\'',
        'COMMENT ON COLUMN "s"."t"."c" IS \'CHAR(2)\'',
        'COMMENT ON COLUMN "s"."t"."s" IS \'SUPER\'',
        'COMMENT ON COLUMN "s"."t"."d" IS \'DECIMAL(38,10)\'',
    ]


def test_what_an_answer_will_have() -> None:
    assert translate("SELECT 1 UNION ALL SELECT 2", "duckdb") == Translated(
        ("SELECT 1 UNION ALL SELECT 2",), has_rows=True
    )
    assert translate("WITH a AS (SELECT 1) SELECT * FROM a", "postgres").has_rows
    assert translate("DELETE FROM t", "duckdb") == Translated(("DELETE FROM t",), has_rows=False, counts=True)
    assert translate(f"{MERGE} {UPDATE} {INSERT}", "duckdb").counts


def test_comments_before_a_statement() -> None:
    assert strip_comments("/* a\n */ -- b\n  /**/LOCK t -- c") == "LOCK t -- c"
    assert translate("/* a */ LOCK t", "postgres").sql == ('LOCK TABLE "t" IN ACCESS EXCLUSIVE MODE',)
    assert translate("/* a */ SELECT 1", "postgres").sql == ("SELECT 1",)


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        (f"{MERGE} WHEN MATCHED AND w.v > 1 THEN UPDATE SET v = w.v {INSERT}", "no condition"),
        (f"{MERGE} {UPDATE}", "exactly one"),
        (f"{MERGE} {INSERT}", "exactly one"),
        (f"{MERGE} {UPDATE} WHEN MATCHED THEN DELETE {INSERT}", "exactly one"),
        (f"MERGE INTO t AS x USING w ON x.k = w.k {UPDATE} {INSERT}", "no alias"),
        (f"MERGE INTO t USING t ON t.k = t.k {UPDATE} {INSERT}", "cannot be the same table"),
        (f"MERGE INTO t USING (SELECT * FROM t) AS w ON t.k = w.k {UPDATE} {INSERT}", "cannot be the same table"),
        (f"{MERGE} WHEN MATCHED THEN UPDATE SET t.v = w.v {INSERT}", "not qualified"),
        (f"MERGE INTO t USING w ON t.k = w.k AND t.v < w.v {UPDATE} {INSERT}", "equal predicates"),
        (f"MERGE INTO t USING w ON t.k = w.k OR t.v = w.v {UPDATE} {INSERT}", "equal predicates"),
        (f"WITH x AS (SELECT 1) {MERGE} {UPDATE} {INSERT}", "WITH"),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "ON CONFLICT"),
        ("INSERT INTO t VALUES (1) RETURNING k", "RETURNING"),
        ("SELECT k FROM t FOR UPDATE", "FOR UPDATE"),
        ("SELECT DISTINCT ON (k) k FROM t", "DISTINCT ON"),
        ("CREATE INDEX i ON t (k)", "CREATE INDEX"),
        ("ALTER TABLE t ADD COLUMN a INTEGER, ADD COLUMN b INTEGER", "one column at a time"),
        ("ALTER TABLE t ALTER COLUMN a TYPE BIGINT", "no other type"),
        ("CREATE TEMP TABLE s.t (a INTEGER)", "temporary"),
        ("SELECT 1 FROM a FULL JOIN b ON a.x = b.x AND a.y < b.y", "merge-joinable"),
        ("SELECT 1 FROM a FULL OUTER JOIN b ON a.x = b.x OR a.y = b.y", "merge-joinable"),
        ("SELECT 1 FROM a FULL JOIN b ON a.x <> b.x", "merge-joinable"),
        ("SELECT has_table_privilege('u', 't', 'SELECT') FROM t", "leader node"),
        (f"{MERGE} WHEN MATCHED THEN UPDATE SET v = NULL {INSERT}", "unknown"),
        (f"{MERGE} {UPDATE} WHEN NOT MATCHED THEN INSERT (k, v) VALUES (w.k, NULL)", "unknown"),
        ("CREATE TABLE t AS SELECT k, NULL AS v FROM w", "unknown"),
        ("SELECT k AS tag FROM t", "reserved word"),
        ("SELECT snapshot FROM t", "reserved word"),
        ("CREATE TABLE t (open INTEGER)", "reserved word"),
        ("SELECT string_agg(k, ',') FROM t", "function string_agg does not exist"),
        ("SELECT * FROM range(3) AS r", "function range does not exist"),
        ("INSERT INTO t (k) SELECT epoch_ms(k) FROM w", "function epoch_ms does not exist"),
        ("CREATE VIEW s.v AS SELECT k FROM t WITH NO SCHEMA BINDING", 'relation "t" has to be qualified'),
        ("SELECT COUNT(*) FROM (SELECT k FROM t)", "must have an alias"),
        ("SELECT 1 FROM t JOIN (SELECT k FROM w) ON t.k = w.k", "must have an alias"),
        ("CREATE USER u PASSWORD 'Secret1'", "PASSWORD DISABLE only"),
        ("SELECT 1; SELECT 2", "exactly one"),
        ("SELECT (", "syntax error"),
        ("BEGIN", "transaction control"),
        ("COMMIT", "transaction control"),
        ("ROLLBACK", "transaction control"),
    ],
)
def test_refused_everywhere(sql: str, why: str) -> None:
    with pytest.raises(SqlError) as raised:
        translate(sql, "duckdb")
    assert why in str(raised.value)


@pytest.mark.parametrize("sql", ["TRUNCATE t", "TRUNCATE TABLE t", "VACUUM", "ALTER TABLE t APPEND FROM u", "CALL p()"])
def test_refused_in_a_batch_only(sql: str) -> None:
    with pytest.raises(SqlError):
        translate(sql, "duckdb", in_batch=True)
    assert translate(sql, "duckdb").sql


def test_a_column_is_not_lengthened_in_a_transaction() -> None:
    sql = "ALTER TABLE t ALTER COLUMN a TYPE VARCHAR(20)"
    with pytest.raises(SqlError, match="inside a transaction block"):
        translate(sql, "postgres", in_batch=True)
    assert translate(sql, "postgres").sql


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 FROM a FULL JOIN b ON a.x = b.x AND a.y = b.y",
        "CREATE TABLE t AS SELECT k, CAST(NULL AS BIGINT) AS v FROM w",
        "SELECT NULL",
        "UPDATE t SET v = NULL",
        'SELECT k AS "tag", "open" FROM t',
        "INSERT INTO t (k) VALUES (1)",
        "CREATE TABLE IF NOT EXISTS s.t (k DECIMAL(38,10), v VARCHAR(20), c CHARACTER VARYING(3))",
        "SELECT k FROM t WHERE k IN (1, 2) AND (k = 1 OR NOT (k = 2)) AND EXISTS (SELECT 1)",
        "WITH a AS (SELECT 1 AS k) SELECT x.k FROM (SELECT k FROM a) AS x JOIN t USING (k)",
        "CREATE VIEW s.v AS SELECT k FROM s.t WITH NO SCHEMA BINDING",
        "SELECT ROW_NUMBER() OVER (PARTITION BY k ORDER BY v), NVL(k, 1), LEFT(v, 2), GETDATE(), SYSDATE FROM t",
    ],
)
def test_what_is_near_a_refusal_and_fine(sql: str) -> None:
    assert translate(sql, "duckdb").sql


@pytest.mark.parametrize("name", ["ctid", "OID", "x" * 128, "a\u200b"])
def test_names_that_redshift_refuses_are_refused(name: str) -> None:
    for sql in (f'CREATE TABLE t ("{name}" INTEGER)', f'ALTER TABLE t ADD COLUMN "{name}" INTEGER'):
        with pytest.raises(SqlError, match="column name"):
            translate(sql, "duckdb")


def test_only_ascii_letters_of_names_are_folded() -> None:
    (sql, *_) = translate('CREATE TABLE "T" ("É" INTEGER, "é" INTEGER)', "postgres").sql
    assert '"É"' in sql
    assert '"t"' in sql


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_literals_pass_through_redshifts_escapes_before_an_engine_sees_them(dialect: Dialect) -> None:
    r"""`'\N'` is an N; only a backslash that is written twice is one, as both engines read it."""
    (sql,) = translate(r"SELECT '\N', 'a\\b', '\101', 'it''s \'so\''", dialect).sql
    assert sql == r"SELECT 'N', 'a\b', 'A', 'it''s ''so'''"
