"""Which names Redshift takes, and which it cannot tell apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastetl.identifiers import (
    RESERVED_COLUMNS,
    find_column_problem,
    find_name_problem,
    find_schema_problem,
    find_table_problem,
    fold,
)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Name", "nAME", True),
        ("É", "é", False),  # only ASCII letters are folded
        ("İ", "i", False),
        ("\u212a", "k", False),  # the sign of Kelvin
        ("a b", "A B", True),
        ("name", "name ", False),
        ('q"', 'Q"', True),
    ],
)
def test_which_names_are_the_same(one: str, other: str, same: bool) -> None:
    assert (fold(one) == fold(other)) is same


@given(st.text())
def test_folding_is_done_once_and_changes_no_length(name: str) -> None:
    assert fold(fold(name)) == fold(name)
    assert len(fold(name).encode(errors="surrogatepass")) == len(name.encode(errors="surrogatepass"))


@pytest.mark.parametrize(
    "name", ["a", "Order Total", 'say "so"', "ünïcödé", "日本語", "😀", "a.b", "select", "x" * 127]
)
def test_names_that_are_taken(name: str) -> None:
    assert find_name_problem(name) == find_column_problem(name) == ""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "empty"),
        ("a\0b", "cannot be printed"),
        ("a\nb", "cannot be printed"),
        ("a\x7f", "cannot be printed"),
        ("\ud800", "cannot be printed"),
        ("\u200b", "cannot be printed"),
        ("x" * 128, "128 bytes"),
        ("é" * 64, "128 bytes"),
    ],
)
def test_names_that_are_refused(name: str, told: str) -> None:
    assert told in find_name_problem(name)
    assert told in find_column_problem(name)


def test_columns_that_every_table_has() -> None:
    for name in RESERVED_COLUMNS:
        assert "in every table" in find_column_problem(name.upper())
        assert find_name_problem(name) == ""


def test_tables_and_schemas() -> None:
    assert find_table_problem("orders", ("", "_log")) == find_schema_problem("public") == ""
    assert "temporary" in find_table_problem("#orders", ())
    assert "dot" in find_table_problem("public.orders", ())
    assert "128 bytes" in find_table_problem("x" * 124, ("", "_log"))
    assert find_table_problem("x" * 123, ("", "_log")) == ""
    assert all("Redshift's own" in find_schema_problem(name) for name in ("PG_temp", "information_schema"))
