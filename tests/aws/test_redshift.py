"""The edge to Redshift's Data API, against the embedded one over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastetl.aws.client_token import build_token
from fastetl.aws.redshift import cut_into_pieces
from fastetl.errors import WarehouseError
from fastetl.limits import MAX_SQL_BYTES, MAX_STATEMENTS
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


async def test_a_failure_names_the_step(make_plant: Any) -> None:
    warehouse = (await make_plant()).warehouse
    wrong = Statement("merge", "SELECT nothing FROM nowhere")
    for run in (
        lambda: warehouse.run([*ONE, wrong], name="x", token=("x", LONG, 1)),
        lambda: warehouse.run_alone(wrong, name="x", token=("x", LONG, 2)),
    ):
        with pytest.raises(WarehouseError, match=r"^merge: .*nowhere") as failed:
            await run()
        assert failed.value.step == "merge"


# --- how much fits a call ---------------------------------------------------------------------------------------------


def sized(size: int) -> Statement:
    """A statement of this number of bytes."""
    return Statement("test", "SELECT 1 /*" + "x" * (size - 13) + "*/")


@given(st.lists(st.integers(13, MAX_SQL_BYTES) | st.just(13), max_size=120))
def test_pieces_keep_order_and_fit_a_call_by_count_and_by_bytes(sizes: list[int]) -> None:
    statements = [sized(size) for size in sizes]
    pieces = cut_into_pieces(statements)
    assert [each for piece in pieces for each in piece] == statements
    for number, piece in enumerate(pieces):
        size = sum(len(each.sql) for each in piece)
        assert 1 <= len(piece) <= MAX_STATEMENTS
        assert size <= MAX_SQL_BYTES
        if number + 1 < len(pieces):
            following = len(pieces[number + 1][0].sql)
            assert len(piece) == MAX_STATEMENTS or size + following > MAX_SQL_BYTES


async def test_a_statement_that_is_too_long_is_named_and_not_sent(make_plant: Any) -> None:
    warehouse = (await make_plant()).warehouse
    fits, too_long = sized(MAX_SQL_BYTES), Statement("merge", sized(MAX_SQL_BYTES + 1).sql)
    await warehouse.run([fits], name="fits", token=("fits",))
    await warehouse.run_alone(fits, name="fits", token=("fits alone",))
    for run in (
        lambda: warehouse.run([fits, too_long], name="orders", token=("too long",)),
        lambda: warehouse.run_alone(too_long, name="orders", token=("too long alone",)),
    ):
        with pytest.raises(
            WarehouseError, match="the statement merge has 100,001 bytes, and the Data API takes 100,000"
        ):
            await run()
    assert await warehouse.find("orders") == ""
