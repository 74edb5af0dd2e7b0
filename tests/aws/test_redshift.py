"""The edge to Redshift's Data API, against the embedded one over HTTP."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fastetl.aws.redshift import build_token
from fastetl.sql.text import Statement

ONE = [Statement("test", "SELECT 1")]


async def test_statements_are_found_by_their_exact_name(make_plant: Any) -> None:
    warehouse = (await make_plant()).warehouse
    longer = await warehouse.submit(ONE, name="batch/10", token=("token", 10))
    shorter = await warehouse.submit(ONE, name="batch/1", token=("token", 1))
    assert await warehouse.find("batch/1") == shorter
    assert await warehouse.find("batch/10") == longer
    assert await warehouse.find("batch/") == ""


async def test_what_waits_can_be_cancelled_and_has_not_run(make_plant: Any) -> None:
    plant = await make_plant()
    plant.server.hold()
    statement_id = await plant.warehouse.submit(ONE, name="batch/1", token=("token", 1))
    assert (await plant.warehouse.describe(statement_id)).state == "RUNNING"
    await plant.warehouse.cancel(statement_id)
    plant.server.release()
    await plant.warehouse.end(statement_id)
    assert (await plant.warehouse.describe(statement_id)).state == "FAILED"


async def test_an_id_that_nobody_knows_is_unknown(make_plant: Any) -> None:
    run = await (await make_plant()).warehouse.describe("00000000-0000-0000-0000-000000000000")
    assert run.state == "UNKNOWN"


LONG = "p" * 64


@given(st.lists(st.text() | st.integers(), min_size=1), st.lists(st.text() | st.integers(), min_size=1))
def test_tokens_of_different_requests_differ_and_fit_the_data_api(one: list[Any], other: list[Any]) -> None:
    tokens = build_token(tuple(one)), build_token(tuple(other))
    assert all(1 <= len(token) <= 64 for token in tokens)
    assert (tokens[0] == tokens[1]) == (one == other)


def test_tokens_of_long_names_tell_requests_apart() -> None:
    tokens = {build_token((what, LONG, n)) for what in ("resync", "reload") for n in range(5)}
    assert len(tokens) == 10


async def test_the_same_request_runs_once_and_another_runs_again(make_plant: Any) -> None:
    warehouse = (await make_plant()).warehouse
    ids = [await warehouse.submit(ONE, name="x", token=("x", LONG, n)) for n in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]
