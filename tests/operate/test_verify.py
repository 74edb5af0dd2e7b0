"""The table against the mirror, row by row: what is changed by hand is found, and nothing else, while changes flow."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastetl.aws import SourceTable
from fastetl.columns import Column, RedshiftType
from fastetl.decode.keys import build_key, parse_key
from fastetl.enrich import make_enricher
from fastetl.enrich.enricher import Enricher
from fastetl.errors import ConfigError, SourceError
from fastetl.ingest.ingester import Ingest
from fastetl.load import FormerColumns
from fastetl.operate.verify import RowComparer, RowDifference, Verified
from fastetl.sql import BUCKETS, verify
from tests.config.test_targets import WITH_LINES
from tests.load.test_targets import load, make_record, make_shop
from tests.plant import Plant

ARN = "arn:aws:dynamodb:us-east-1:1:table/orders/stream/2026-01-01T00:00:00.000"


Note = str | dict[str, Any] | None
"""A text, a value with its type, or nothing."""


class Compared:
    """A table, its mirror, and somebody who compares the two."""

    def __init__(self, plant: Plant, table: str) -> None:
        self.plant = plant
        self.client = plant.ledger.table._client
        plant.source = SourceTable(self.client, table)
        self.table = table
        self.ingest = Ingest(plant.deployment(), Enricher(plant.pipeline))
        self.number = 0
        self.on_sleep: Callable[[], Any] | None = None
        self.waits: list[tuple[str, float]] = []

    async def write(self, number: int, *, amount: str = "1", note: Note = "x", delete: bool = False) -> None:
        """Change an item, and let the stream bring the change; it waits for its load."""
        await self.item(number, amount=amount, note=note, delete=delete)
        await self.bring(number, amount=amount, note=note, delete=delete)

    async def item(self, number: int, *, amount: str = "1", note: Note = "x", delete: bool = False) -> None:
        key = {"id": {"N": str(number)}}
        if delete:
            await self.client.delete_item(TableName=self.table, Key=key)
            return
        await self.client.put_item(TableName=self.table, Item=key | image(amount, note))

    async def bring(self, number: int, *, amount: str = "1", note: Note = "x", delete: bool = False) -> None:
        self.number += 1
        key = {"id": {"N": str(number)}}
        body: dict[str, Any] = {
            "ApproximateCreationDateTime": 1_767_225_600 + self.number,
            "Keys": key,
            "SequenceNumber": str(10**21 + self.number),
        }
        body |= {"OldImage": key} if delete else {"NewImage": key | image(amount, note)}
        record = {
            "eventID": f"{self.number:032x}", "eventName": "REMOVE" if delete else "MODIFY", "eventSourceARN": ARN,
            "dynamodb": body,
        }  # fmt: skip
        await self.ingest.ingest(orjson.dumps({"Records": [record]}))

    async def sleep(self, seconds: float) -> None:
        self.plant.now += max(seconds, 1)
        if self.on_sleep:
            await self.on_sleep()

    async def comparer(self, settle_seconds: float = 60) -> RowComparer:
        deployment = self.plant.deployment()

        def note(what: str, seconds: float) -> None:
            self.waits.append((what, seconds))

        return RowComparer(
            deployment, Enricher(deployment.pipeline), settle_seconds=settle_seconds, sleep=self.sleep, on_wait=note
        )

    async def verify(self, share: float = 1.0) -> Verified:
        return await (await self.comparer()).verify(share)

    async def rows(self) -> Any:
        return await self.plant.sql('SELECT "_key", "_version", "note" FROM "public"."orders" ORDER BY "_key"')


def image(amount: str, note: Note) -> dict[str, Any]:
    value = {"S": note} if isinstance(note, str) else note
    return {"amount": {"N": amount}} | ({"note": value} if value is not None else {})


@pytest.fixture
async def compared(make_plant: Callable[..., Any]) -> Any:
    async with compare(await make_plant()) as compared:
        yield compared


@asynccontextmanager
async def compare(plant: Plant) -> AsyncIterator[Compared]:
    table = f"verified-{id(plant)}"
    client = plant.ledger.table._client
    await client.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        BillingMode="PAY_PER_REQUEST",
    )
    yield Compared(plant, table)
    await client.delete_table(TableName=table)


async def objects(plant: Plant) -> list[str]:
    return [key async for key in plant.bucket.list_keys("check/")]


async def test_rows_changed_by_hand_are_found_and_only_they_and_repaired(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "COLUMNS_AT_ONCE", 1)  # as a wide table needs several statements
    for number in range(1, 9):
        await compared.write(number, amount=f"{number}.50", note=None if number == 8 else "x")
    await compared.write(7, delete=True)
    await compared.plant.run()
    same = await compared.verify()
    assert (same.differences, same.items, same.undecided, same.unfit) == ((), 7, 0, 0)
    assert compared.waits == []  # for nothing that differs
    before = await compared.rows()
    log = await compared.plant.sql('SELECT COUNT(*) FROM "public"."orders_log"')
    for change in (
        'DELETE FROM "public"."orders" WHERE "id" = 1',
        'UPDATE "public"."orders" SET "note" = \'x \' WHERE "id" = 2',
        'UPDATE "public"."orders" SET "amount" = NULL, "note" = \'y\' WHERE "id" = 3',
        'UPDATE "public"."orders" SET "_deleted" = FALSE WHERE "id" = 7',
    ):
        await compared.plant.execute(change)
    found = await compared.verify()
    assert found.differences == (
        RowDifference("N=1;", "missing"),
        RowDifference("N=2;", "differs", ("note",)),
        RowDifference("N=3;", "differs", ("amount", "note")),
        RowDifference("N=7;", "extra"),
    )
    assert found.waited_for == "settling"
    repaired = await (await compared.comparer()).repair(found)
    assert repaired.repaired == 4
    (settling, for_load), (beginning, for_epoch) = compared.waits
    assert ("is loaded" in settling, for_load, "epoch 1 has begun" in beginning) == (True, 60, True)
    assert 120 <= for_epoch <= 122
    assert (await compared.verify()).differences == ()
    after = {key: (version, note) for key, version, note in await compared.rows()}
    assert {key for key, version, note in before if after[key] != (version, note)} == {"N=1;", "N=2;", "N=3;", "N=7;"}
    assert await compared.plant.sql('SELECT COUNT(*) FROM "public"."orders_log"') == log
    assert await objects(compared.plant) == []


async def test_nothing_stays_on_s3_of_a_comparison_or_a_repair_that_is_broken_off(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    await compared.write(1)
    await compared.plant.run()
    await compared.plant.execute('DELETE FROM "public"."orders" WHERE "id" = 1')
    found = await compared.verify()

    async def stop(*_: object) -> None:
        assert await objects(compared.plant)
        raise SourceError("broken off")

    with pytest.raises(SourceError):
        await (await compared.comparer()).verify(throttle=stop)
    assert await objects(compared.plant) == []
    monkeypatch.setattr(FormerColumns, "find", stop)
    with pytest.raises(SourceError):
        await (await compared.comparer()).repair(found)
    assert await objects(compared.plant) == []


async def test_a_change_after_a_repair_wins_and_one_before_it_does_not(compared: Compared) -> None:
    await compared.write(1, note="first")
    await compared.plant.run()
    await compared.plant.execute('DELETE FROM "public"."orders" WHERE "id" = 1')
    comparer = await compared.comparer()
    found = await comparer.verify()
    await comparer.repair(found)
    await compared.bring(1, note="late")  # of before the epoch
    await compared.plant.run()
    assert [note for _, _, note in await compared.rows()] == ["first"]
    compared.number += int(compared.plant.now) - 1_767_225_600 + 60
    compared.ingest = Ingest(compared.plant.deployment(), Enricher(compared.plant.pipeline))
    await compared.write(1, note="later")
    await compared.plant.run()
    assert [note for _, _, note in await compared.rows()] == ["later"]
    assert (await compared.verify()).differences == ()


async def test_what_is_on_its_way_does_not_count(compared: Compared) -> None:
    for number in range(1, 4):
        await compared.write(number)
    await compared.plant.run()
    await compared.write(1, note="new")  # waits for its load
    await compared.write(2, delete=True)
    await compared.item(4)  # not even in a file yet

    async def go_on() -> None:
        compared.on_sleep = None
        await compared.bring(4)
        await compared.plant.run()

    compared.on_sleep = go_on
    found = await compared.verify()
    assert (found.differences, found.undecided) == ((), 0)


async def test_an_item_that_goes_on_changing_is_decided_when_it_stands_still(compared: Compared) -> None:
    await compared.write(1)
    await compared.plant.run()
    await compared.item(1, note="0")
    left = [1, 2]

    async def write_on() -> None:
        if left:
            await compared.item(1, note=str(left.pop()))

    compared.on_sleep = write_on
    found = await compared.verify()
    assert found.differences == (RowDifference("N=1;", "differs", ("note",)),)

    async def write_always() -> None:
        compared.number += 1
        await compared.item(1, note=f"n{compared.number}")

    compared.on_sleep = write_always
    found = await compared.verify()
    assert (found.differences, found.undecided) == ((), 1)


@pytest.mark.parametrize("seed", [0])
async def test_after_a_repair_while_changes_flow_the_mirror_is_the_table(compared: Compared, seed: int) -> None:
    chance = random.Random(seed)
    unbrought: list[tuple[int, dict[str, Any]]] = []

    async def change() -> None:
        """Change some items; each change comes later, in order, and is loaded later still."""
        if chance.random() < 0.8:
            return
        for _ in range(chance.randrange(3)):
            number, delete = chance.randrange(6), chance.random() < 0.2
            how = {"delete": True} if delete else {"note": f"v{chance.randrange(1000)}"}
            await compared.item(number, **how)
            unbrought.append((number, how))
        while unbrought and chance.random() < 0.6:
            number, how = unbrought.pop(0)
            await compared.bring(number, **how)
        if chance.random() < 0.3:
            await compared.plant.run()

    for number in range(6):
        await compared.write(number, note="first")
    await compared.plant.run()
    for number in chance.sample(range(6), 3):
        harm = chance.choice(('DELETE FROM "public"."orders"', 'UPDATE "public"."orders" SET "note" = \'harm\''))
        await compared.plant.execute(f'{harm} WHERE "id" = {number}')
    compared.on_sleep = change
    comparer = await compared.comparer()
    found = await comparer.verify()
    await comparer.repair(found)
    compared.on_sleep = None
    for number, how in unbrought:
        await compared.bring(number, **how)
    await compared.plant.run()
    last = await compared.verify()
    # What stood still is repaired; what changed meanwhile was decided by its change.
    assert (last.differences, last.undecided) == ((), 0)


async def test_the_order_of_names_in_a_document_is_no_difference_and_its_length_no_obstacle(make_plant: Any) -> None:
    columns = (
        Column("id", ("id",), RedshiftType.parse("BIGINT")), Column("note", ("note",), RedshiftType.parse("SUPER")),
    )  # fmt: skip
    async with compare(await make_plant(columns=columns)) as compared:
        text = "x" * 40_000
        members: dict[str, Any] = {name: {"M": {"z": {"S": text}, "y": {"SS": ["b", "a"]}}} for name in ("b", "a")}
        for number in (1, 2):
            await compared.bring(number, note={"M": members})
            turned = {"M": {name: {"M": dict(reversed(members[name]["M"].items()))} for name in ("a", "b")}}
            await compared.item(number, note=turned)
        await compared.plant.run()
        assert (await compared.verify()).differences == ()
        await compared.plant.execute("""UPDATE public.orders SET note = JSON_PARSE('{"a":1}') WHERE id = 1""")
        assert (await compared.verify()).differences == (RowDifference("N=1;", "differs", ("note",)),)


async def test_a_sample_takes_the_same_keys_on_both_sides(compared: Compared) -> None:
    for number in range(1, 21):
        await compared.write(number)
    await compared.plant.run()
    await compared.plant.execute('UPDATE "public"."orders" SET "note" = \'y\'')
    half = await compared.verify(0.5)
    assert 0 < half.items < 20
    assert len(half.differences) == half.items
    for number in range(1, 21):
        await compared.item(number, delete=True)
    extra = await compared.verify(0.5)
    assert {each.key for each in extra.differences} == {each.key for each in half.differences}
    assert {each.what for each in extra.differences} == {"extra"}
    assert (await compared.verify(1 / BUCKETS / 10)).items <= 1


async def test_items_that_fit_no_row_are_counted(compared: Compared) -> None:
    await compared.item(1, note="far too long for VARCHAR(20)")
    found = await compared.verify()
    assert (found.unfit, found.items, found.differences) == (1, 0, ())


async def test_a_pipeline_without_a_mirror_has_nothing_to_compare(compared: Compared) -> None:
    deployment = compared.plant.deployment(outputs=frozenset({"log"}))
    with pytest.raises(ConfigError, match="no mirror to compare with"):
        await RowComparer(deployment, Enricher(deployment.pipeline), settle_seconds=0).verify()


async def test_the_cost_is_known_beforehand(compared: Compared) -> None:
    await compared.item(1)
    estimate = await (await compared.comparer()).estimate()
    assert (estimate.items, estimate.read_units) == (1, -(-estimate.bytes // 4096))


@given(
    st.lists(
        st.one_of(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")).map(lambda text: {"S": text}),
            st.integers().map(lambda number: {"N": str(number)}),
        ),
        min_size=1,
        max_size=2,
    )
)
def test_a_key_is_read_as_it_was_written(values: list[dict[str, Any]]) -> None:
    names = ("a", "b")[: len(values)]
    keys = dict(zip(names, values, strict=True))
    assert parse_key(build_key(keys, names), names) == keys


@pytest.mark.parametrize("text", ["", "S=a", "S=a;;", "S=a;N=1;", "X=a;"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        parse_key(text, ("a",))


async def test_each_of_several_targets_and_their_child_tables_are_compared_and_repaired(make_plant: Any) -> None:
    plant = await make_shop(make_plant, WITH_LINES)
    client, table = plant.ledger.table._client, f"verified-{id(plant)}"
    await client.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST",
    )
    plant.source = SourceTable(client, table)
    lines = [{"M": {"pk": {"S": f"l{n}"}, "count": {"N": str(n)}}} for n in range(3)]
    basket = {"M": {"lines": {"L": lines}}}
    records = [
        make_record(number, f"O#{number}", type={"S": "order"}, amount={"N": "5"}, basket=basket) for number in (1, 2)
    ]
    records.append(make_record(3, "P#1", name={"S": "x"}, born={"S": "2000-01-01"}))
    for record in records:
        await client.put_item(TableName=table, Item=record["dynamodb"]["NewImage"])
    await load(plant, *records)

    async def sleep(seconds: float) -> None:
        plant.now += max(seconds, 1)

    deployment = plant.deployment()
    comparer = RowComparer(deployment, make_enricher(deployment.pipeline), settle_seconds=60, sleep=sleep)
    same = await comparer.verify()
    assert (same.differences, same.items, same.unfit) == ((), 3, 0)
    for change in (
        "UPDATE public.orders SET amount = 6 WHERE pk = 'O#1'",
        'UPDATE public.people SET "_deleted" = FALSE WHERE "_key" LIKE \'%O#2%\'',
        "DELETE FROM public.people WHERE pk = 'P#1'",
        'UPDATE public.lines SET count = 7 WHERE "_key" LIKE \'%O#1%\' AND "_position" = 0',
        'DELETE FROM public.lines WHERE "_key" LIKE \'%O#2%\' AND "_position" = 2',
    ):
        await plant.execute(change)
    found = await comparer.verify()
    first, second, person = (f"S={key};S=s;" for key in ("O#1", "O#2", "P#1"))
    assert set(found.differences) == {
        RowDifference(first, "differs", ("count",), "lines"),
        RowDifference(first, "differs", ("amount",), "order"),
        RowDifference(second, "missing", (), "lines"),
        RowDifference(second, "extra", (), "person"),
        RowDifference(person, "missing", (), "person"),
    }
    assert (await comparer.repair(found)).repaired == 3
    assert (await comparer.verify()).differences == ()
    assert len(await plant.sql("SELECT 1 FROM public.lines_current")) == 6
    await client.delete_table(TableName=table)
