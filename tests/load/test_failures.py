"""What Redshift says when a statement fails, and what that is taken for."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastetl.load.failures import classify
from fastetl.sql.load import load_sql
from tests.sql.test_sql import make_load, make_pipeline

MESSAGES: list[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("redshift_messages.toml").read_text())[
    "messages"
]
STEPS = [statement.step for statement in load_sql(make_pipeline(), make_load(make_pipeline().layout))]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: f"{message['step']} {message['text'].strip()[:50]}")
def test_a_message_is_taken_for_what_it_means(message: dict[str, Any]) -> None:
    assert classify(message["step"], message["text"], named=False) == message["means"]


def test_every_message_has_a_source_and_a_step_that_loads_have() -> None:
    assert all(message["source"].startswith("https://") for message in MESSAGES)
    assert {message["step"] for message in MESSAGES} - {"post_sql"} <= set(STEPS)
    assert {message["means"] for message in MESSAGES} == {
        "archived", "data", "files", "gate", "infrastructure", "transient",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("step", "error", "named", "failure"),
    [
        # The stand-ins' own words, and words that no thread quotes.
        ("copy", "Load into table 'fastetl_staged' failed.  Check 'sys_load_error_detail'", True, "data"),
        ("copy", "The specified S3 prefix 'data/x.csv.gz' does not exist", False, "data"),
        ("count", 'invalid input syntax for integer: "row counts differ"', False, "data"),
        ("gate_batch", 'invalid input syntax for integer: "loaded before"', False, "gate"),
        ("gate_fence", 'invalid input syntax for integer: "fenced"', False, "gate"),
        ("gate_files", 'invalid input syntax for integer: "file loaded before"', False, "files"),
        # What chance does at any step.
        ("gate_files", "terminating connection", False, "transient"),
        ("count", "terminating connection due to administrator command", False, "transient"),
        ("copy", "Query (17) cancelled on user's request", True, "transient"),
        ("copy_files", "The specified S3 prefix 'manifests/x/files.csv' does not exist", False, "transient"),
        ("", "", False, "transient"),
        # A file that is named is to blame, whatever words come with it.
        ("copy", "words that nobody has seen", True, "data"),
    ],
)
def test_a_failure_is_judged_by_the_step_that_failed(step: str, error: str, named: bool, failure: str) -> None:
    assert classify(step, error, named=named) == failure


@given(st.sampled_from(["", *STEPS]), st.text(st.characters(categories=["Lo"]), min_size=1))
def test_words_that_nobody_knows_never_blame_the_data(step: str, error: str) -> None:
    assert classify(step, error, named=False) == "infrastructure"


@given(st.sampled_from([step for step in STEPS if step != "copy"]), st.booleans())
def test_only_copy_blames_a_file_by_its_words(step: str, named: bool) -> None:
    error = "Load into table 'x' failed.  Check 'sys_load_error_detail' system table for details."
    assert classify(step, error, named=named) != "data"
