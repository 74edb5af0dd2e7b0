"""COPY's options as Redshift writes them, in any order; what is not emulated is refused."""

from __future__ import annotations

import pytest

from fastetl.local.warehouse.copy_command import CopyCommand, is_copy, parse_copy
from fastetl.local.warehouse.engine import SqlError, Table

PRODUCT = (
    '/* fastetl copy b/1 */\nCOPY "fastetl_staged" ("_key", "Day") FROM \'s3://b/it\'\'s\' IAM_ROLE default MANIFEST'
    " FORMAT AS CSV QUOTE AS '\"' DELIMITER ',' GZIP TIMEFORMAT 'auto' DATEFORMAT 'auto'"
    " COMPUPDATE OFF STATUPDATE OFF MAXERROR 0 REGION 'us-east-1'"
)


def test_the_products_copy() -> None:
    assert is_copy(PRODUCT)
    assert parse_copy(PRODUCT) == CopyCommand(
        table=Table("fastetl_staged"), columns=("_key", "day"), url="s3://b/it's", manifest=True, compression="gzip"
    )


def test_other_spellings() -> None:
    command = parse_copy(
        r"copy Public.T from 's3://b/k' credentials 'aws_iam_role=arn' csv quote '%' delimiter as '\t' zstd"
        r" null '\\0' ignoreheader as 1 maxerror as 7;"
    )
    assert command.table == Table("t", "public")
    assert (command.delimiter, command.quote, command.null_marker) == ("\t", "%", "\0")
    assert (command.compression, command.ignore_header, command.max_error) == ("zstd", 1, 7)
    assert parse_copy(r"COPY t FROM 's3://b/k' IAM_ROLE 'arn' CSV DELIMITER '\001'").delimiter == "\x01"


@pytest.mark.parametrize(
    ("option", "marker"),
    [
        ("", r"\N"),
        (r"NULL AS '\N'", "N"),  # the literal's escape comes first
        (r"NULL AS '\\N'", r"\N"),
        ("NULL AS '<N>'", "<N>"),
        (r"NULL 'it\'s'", "it's"),
        ("NULL 'it''s'", "it's"),
    ],
)
def test_a_literal_passes_through_its_escapes_before_copy_sees_it(option: str, marker: str) -> None:
    assert parse_copy(f"COPY t FROM 's3://b/k' IAM_ROLE default CSV {option}").null_marker == marker


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("COPY t FROM 's3://b/k' CSV", "IAM_ROLE or CREDENTIALS"),
        ("COPY t FROM 's3://b/k' IAM_ROLE default", "FORMAT AS CSV only"),
        ("COPY t FROM 's3://b/k' IAM_ROLE default FORMAT AS PARQUET", "FORMAT AS CSV only"),
        ("COPY t FROM 'dynamodb://t' IAM_ROLE default CSV", "s3://"),
        ("COPY t FROM 's3://b/k' IAM_ROLE default CSV ESCAPE", "ESCAPE"),
        ("COPY t FROM 's3://b/k' IAM_ROLE default CSV GZIP GZIP", "redundant"),
        ("COPY t FROM 's3://b/k' IAM_ROLE default CSV DELIMITER ',,'", "single ASCII"),
        ("COPY t FROM 's3://b/k' IAM_ROLE default CSV DELIMITER 'é'", "single ASCII"),
        ("COPY t FROM 's3://b/k' IAM_ROLE default CSV MAXERROR 100001", "MAXERROR must be between"),
        ("COPY t FROM 's3://b/k' IAM_ROLE default CSV TIMEFORMAT 'epochsecs'", "'auto' only"),
        ("COPY t FROM 's3://b/k' IAM_ROLE default CSV COMPUPDATE MAYBE", "ON or OFF"),
        ("COPY t FROM 's3://b/k' IAM_ROLE default CSV MAXERROR", "end of input"),
        ("COPY t (a b) FROM 's3://b/k' IAM_ROLE default CSV", ") is expected"),
        ("COPY t FROM 's3://b/k IAM_ROLE default CSV", "syntax error"),
    ],
)
def test_refused(sql: str, why: str) -> None:
    with pytest.raises(SqlError) as raised:
        parse_copy(sql)
    assert why in str(raised.value)


def test_only_a_copy_is_one() -> None:
    assert not is_copy("SELECT 'COPY t'")
    assert not is_copy("COPYING")
