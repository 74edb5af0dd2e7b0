"""What Redshift says when a statement fails, and what that is taken for."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastetl.load.failures import classify, describe_load_error, find_file_read
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
        "archived", "data", "files", "gate", "infrastructure", "transient", "unreadable",
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


DENIED = "S3ServiceException:Access Denied,Status 403,Error AccessDenied,Rid 1,CanRetry 1"


def test_an_object_that_may_not_be_read_is_no_fault_of_the_whole_pipeline_but_the_own_list_is() -> None:
    assert classify("copy", DENIED, named=True) == "unreadable"
    assert classify("copy_files", DENIED, named=False) == "infrastructure"
    assert classify("copy", "not authorized to perform: kms:Decrypt on resource", named=False) == "unreadable"
    assert classify("copy", "User arn:aws:x is not authorized to assume IAM Role", named=False) == "infrastructure"


def test_the_file_that_copy_was_reading_is_found_in_its_message() -> None:
    file_id = "0123456789abcdef" * 2
    context = f"  code:      8001\n  context:   S3 key being read : s3://lake/data/p/l/2026/01/31/23/{file_id}.csv.gz\n"
    assert find_file_read(DENIED + "\n" + context) == file_id
    assert find_file_read(DENIED) == ""


@given(st.sampled_from([step for step in STEPS if step != "copy"]), st.booleans())
def test_only_copy_blames_a_file_by_its_words(step: str, named: bool) -> None:
    error = "Load into table 'x' failed.  Check 'sys_load_error_detail' system table for details."
    assert classify(step, error, named=named) != "data"


def test_a_load_error_is_told_in_one_line() -> None:
    told = describe_load_error("s3://lake/f", "7", "", "1204", "String length exceeds DDL length")
    assert told == "s3://lake/f, line 7, column -: 1204 String length exceeds DDL length"
    assert describe_load_error("f", "7", "note", "1204", "x").split(", ")[2] == "column note: 1204 x"
