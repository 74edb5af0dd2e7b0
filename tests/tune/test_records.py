"""Records to measure with: made up ones fit their columns, and no two events are alike."""

from pathlib import Path

import orjson
import pytest

from fastetl.config.reading import parse_config
from fastetl.decode.decoder import Decoder
from fastetl.enrich import make_enricher
from fastetl.errors import EventError
from fastetl.ingest import refine
from fastetl.tune.records import EventCutter, make_up_items, read_records, records_of_items
from fastetl.tune.shapes import SHAPES, write_shape

STAND_INS = {"FASTETL_BUCKET": "lake", "FASTETL_LEDGER_TABLE": "ledger", "FASTETL_REDSHIFT_WORKGROUP": "wg"}
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "text",
    [
        (ROOT / "examples/orders.toml").read_text(),
        (ROOT / "src/fastetl/local/demo.toml").read_text(),
        *map(write_shape, SHAPES),
    ],
    ids=["orders", "demo", *SHAPES],
)
def test_made_up_items_fit(text):
    (pipeline, *_) = parse_config(text, STAND_INS).pipelines
    items = make_up_items(pipeline, 300)
    assert items == make_up_items(pipeline, 300)
    changes = Decoder(pipeline).decode(EventCutter(pipeline, records_of_items(pipeline, items)).cut(300))
    assert not changes.rejects
    assert not changes.misfits
    assert changes.frame["_key"].n_unique() == 300
    declared = {column.name for column in pipeline.columns}
    assert not [name for name in declared if changes.frame[name].null_count() == 300]


def test_made_up_items_of_several_targets_are_taken_by_them_with_their_lists():
    (pipeline,) = parse_config((ROOT / "src/fastetl/local/shop.toml").read_text(), STAND_INS).pipelines
    event = EventCutter(pipeline, records_of_items(pipeline, make_up_items(pipeline, 40))).cut(40)
    decoder = Decoder(pipeline)
    refined = refine(
        decoder.decode(event), make_enricher(pipeline), pipeline.layout, lambda rows: decoder.write_records(event, rows)
    )
    assert not refined.changes.rejects
    counts = dict(refined.changes.frame["_target"].value_counts().iter_rows())
    assert counts == {"customer": 10, "cart": 10, "order": 10, "_rest": 10, "line": 20}


def test_made_up_items_fulfil_conditions_in_sql():
    text = """
[[pipelines]]
name = "shop"
table = "shop"
keys = ["id"]
target = "public.shop"
[[pipelines.targets]]
name = "large"
target = "public.large"
when = [{ sql = "total > 0 AND paid" }]
columns = [
    { name = "id", type = "VARCHAR(8)" }, { name = "total", type = "SMALLINT" }, { name = "paid", type = "BOOLEAN" },
]
"""
    (pipeline,) = parse_config(text, STAND_INS).pipelines
    items = make_up_items(pipeline, 50)
    assert all(int(item["total"]["N"]) > 0 and item["paid"] == {"BOOL": True} for item in items)


def test_events_are_different_with_the_same_records():
    (pipeline, *_) = parse_config((ROOT / "examples/orders.toml").read_text(), STAND_INS).pipelines
    cutter = EventCutter(pipeline, records_of_items(pipeline, make_up_items(pipeline, 3)))
    decoder = Decoder(pipeline)
    first, second = (decoder.decode(cutter.cut(7)) for _ in range(2))
    assert first.received == second.received == 7
    assert first.file_id != second.file_id
    assert first.version_max < second.version_min


def test_an_events_own_records_are_used():
    record = {"eventName": "REMOVE", "dynamodb": {"Keys": {"id": {"S": "a"}}}}
    assert read_records(orjson.dumps({"Records": [record]})) == [record]


@pytest.mark.parametrize("event", [b"", b"[]", b'{"Records":[]}', b'{"Records":[{}]}', b'{"Records":5}'])
def test_what_is_no_event_is_told(event):
    with pytest.raises(EventError):
        read_records(event)
