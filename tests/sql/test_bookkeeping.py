"""What a load reads of its bookkeeping does not grow with the years: every question names a time."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastetl.sql import ASKED_AT_ONCE, find_since, load_sql, loaded_files_sql, resolve_sql, tables_sql
from tests.sql.test_sql import BATCH, OWNER, SINCE, make_load, make_pipeline

GROWING = {"_loads": "loaded_at", "_load_files": "loaded_at", "_fences": "fenced_at"}
"""Tables that get a row with every load, file or failure, and the column that they are sorted by."""

PIPELINE = make_pipeline()


def test_every_question_about_the_bookkeeping_has_a_bound() -> None:
    statements = [
        *load_sql(PIPELINE, make_load(PIPELINE.layout)),
        *resolve_sql(PIPELINE, OWNER, BATCH, 3, SINCE, "s3://b/m/files.csv"),
        *loaded_files_sql(PIPELINE, ["a" * 32], SINCE),
    ]
    asked = []
    for statement in statements:
        for suffix, rest in re.findall(r'FROM "[^"]+"\."flights(_[a-z_]+)"(.*?)(?=UNION| FROM |$)', statement.sql):
            if suffix in GROWING:
                assert f"\"{GROWING[suffix]}\" >= CAST('{SINCE}' AS TIMESTAMP)" in rest, statement
                asked.append((statement.step, suffix))
    assert len(asked) == 3 + 4 + 1 + 1
    assert {suffix for _, suffix in asked} == set(GROWING)


def test_what_grows_is_sorted_by_the_time_that_questions_name() -> None:
    created = {
        name: sorted_by
        for statement in tables_sql(PIPELINE)
        for name, sorted_by in re.findall(r'"flights(_[a-z_]+)" \(.*\) SORTKEY \("([a-z_]+)"\)', statement.sql)
    }
    assert created == {**GROWING, "_log": "_changed_at"}


def test_a_question_about_many_files_fits_a_statement() -> None:
    (statement,) = loaded_files_sql(PIPELINE, [f"{n:032x}" for n in range(ASKED_AT_ONCE)], SINCE)
    assert len(statement.sql.encode()) < 100_000


@given(st.integers(0, 253_000_000_000), st.integers(0, 4_000_000_000))
def test_nothing_that_was_loaded_after_its_changes_is_before_the_bound(changed: int, now: int) -> None:
    moment = datetime.fromtimestamp(changed, UTC)
    since = datetime.fromisoformat(find_since(f"{moment:%Y-%m-%d %H:%M:%S.%f}", now * 1000))
    assert since.replace(tzinfo=UTC).timestamp() <= min(changed, now)


NOON = 1_772_366_400_000
"""2026-03-01 12:00:00, UTC."""


@pytest.mark.parametrize(
    ("changed_min", "now_ms", "since"),
    [
        ("2026-03-01 12:00:00.500000", NOON + 1000, "2026-02-28 12:00:00"),
        ("2026-03-01 12:00:00.500000", 2 * NOON, "2026-02-28 12:00:00"),
        ("2026-03-02 12:00:00.000000", NOON, "2026-03-01 12:00:00"),
        ("2026-03-02 12:00:01.000000", NOON, "1970-01-01 00:00:00"),
        ("1970-01-01 00:00:00.000000", NOON, "1970-01-01 00:00:00"),
    ],
)
def test_the_bound_is_a_day_before_the_first_change(changed_min: str, now_ms: int, since: str) -> None:
    assert find_since(changed_min, now_ms) == since
