"""The checks at rest can fail: what is wrong is put there by hand."""

from __future__ import annotations

import pytest

from tests.simulation.world import BUCKET, World


@pytest.fixture
def world() -> World:
    """One that has come to rest, with nothing wrong."""
    world = World(0)
    assert world.run().violations == ()
    return world


def check(world: World) -> set[str]:
    world.invariants.check_at_rest(world.dynamodb.items, world._healthy, world.events.acknowledged)
    return {violation.partition(":")[0] for violation in world.invariants.violations}


def sure_key(world: World) -> str:
    """The object of an invocation that ended well."""
    keys = (key for _, key in sorted(world.s3.objects) if key.startswith("data/"))
    return next(key for key in keys if not world.invariants.is_unsure(key))


def test_nothing_is_wrong_at_rest(world: World) -> None:
    assert check(world) == set()


def test_an_object_that_no_ledger_knows(world: World) -> None:
    key = sure_key(world)
    world.s3.objects[BUCKET, key.replace(".csv", "-2.csv")] = world.s3.objects[BUCKET, key]
    assert check(world) == {"I8"}


def test_an_object_that_is_gone(world: World) -> None:
    key = sure_key(world)
    del world.s3.objects[BUCKET, key]
    assert check(world) == {"I8"}


def test_a_loaded_file_that_the_warehouse_has_not(world: World) -> None:
    # A pipeline that is broken need not have come to its end.
    healthy, *_ = (source.pipeline.name for source in world._healthy)
    files = {pk[2:]: item for pk, item in world.dynamodb.items.items() if pk.startswith("F#")}
    loaded = next(
        file_id
        for file_id, item in files.items()
        if item["pipeline"] == {"S": healthy} and item["state"] == {"S": "LOADED"}
    )
    for name, rows in world.warehouse.tables.items():
        world.warehouse.tables[name] = [row for row in rows if row.get("file_id") != loaded]
    assert "I2" in check(world)


def test_a_change_that_was_loaded_late(world: World) -> None:
    source = world.sources[0]
    world.invariants.check_staleness(source, 0.0, 7 * 24 * 3600.0)
    assert world.invariants.violations == []
    world.invariants.check_staleness(source, 0.0, 1.0)
    assert {violation.partition(":")[0] for violation in world.invariants.violations} == {"I9"}
