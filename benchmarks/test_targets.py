"""What several targets cost in the ingest function: CPU of one event for eight targets and two child tables.

It is held against one target, which carries the same event and the same values: a column for each attribute of any
kind, and the lists as SUPER. Both are timed in turns, once with items whose kinds have the same attributes, and once
with kinds that have attributes of their own.
"""

from __future__ import annotations

import gc
import json
import random
import time
from statistics import median

import pytest

from benchmarks.events import STREAM_ARN
from fastetl.config import parse_config
from fastetl.decode import Decoder
from fastetl.enrich import make_enricher
from fastetl.ingest import encode_frames, refine

RECORDS = 4000
ROUNDS = 15
MOST = 1.4
"""Times the CPU of one target."""

KINDS = [f"kind{n}" for n in range(8)]
WITH_LISTS = KINDS[:2]
COLUMNS = [
    ("name", "VARCHAR(64)"), ("email", "VARCHAR(64)"), ("street", "VARCHAR(64)"), ("city", "VARCHAR(32)"),
    ("status", "VARCHAR(16)"), ("currency", "CHAR(3)"), ("amount", "DECIMAL(18,2)"), ("count", "INTEGER"),
    ("created", "TIMESTAMP"), ("changed", "TIMESTAMP"), ("open", "BOOLEAN"), ("note", "VARCHAR(256)"),
]  # fmt: skip
HEAD = """
bucket = "lake"
ledger_table = "ledger"
redshift = { workgroup = "w" }
[[pipelines]]
name = "shop"
table = "shop"
stream_arn = "%s"
keys = ["pk", "sk"]
target = "public.shop"
"""
KEYS = [("pk", "VARCHAR(64)"), ("sk", "VARCHAR(64)")]


def write_columns(columns):
    return "columns = [" + ", ".join(f'{{ name = "{name}", type = "{kind}" }}' for name, kind in columns) + "]\n"


def list_columns(kind, *, are_shared):
    """List the columns of a kind; where the kinds share none, their names end in the kind's."""
    return COLUMNS if are_shared else [(f"{name}_{kind}", of) for name, of in COLUMNS]


def build_one(*, are_shared):
    """Configure one target with all columns, the lists as documents."""
    own = dict(column for kind in KINDS for column in list_columns(kind, are_shared=are_shared))
    every = [("type", "VARCHAR(16)"), *own.items(), ("lines", "SUPER")]
    return parse_config(HEAD % STREAM_ARN + write_columns([*KEYS, *every]), {}).pipelines[0]


def build_eight(*, are_shared):
    """Configure a target for each kind, and two child tables."""
    text = HEAD % STREAM_ARN
    for kind in KINDS:
        when = f'when = [{{ attribute = "type", equals = "{kind}" }}]\n'
        text += f'[[pipelines.targets]]\nname = "{kind}"\ntarget = "public.{kind}"\n{when}'
        text += write_columns([*KEYS, *list_columns(kind, are_shared=are_shared)])
        if kind in WITH_LISTS:
            text += f'[[pipelines.targets]]\nname = "{kind}_lines"\ntarget = "public.{kind}_lines"\nrows_of = "lines"\n'
            text += write_columns([("sku", "VARCHAR(32)"), ("quantity", "INTEGER")])
    return parse_config(text, {}).pipelines[0]


def make_line(chance, position):
    """Make an element of a list."""
    return {"M": {"sku": {"S": f"sku-{chance.randrange(10**5)}"}, "quantity": {"N": str(position)}}}


def make_event(*, are_shared):
    """Make an event of all kinds, 15 attributes each; items of two have lists of one to three elements."""
    chance = random.Random(7)
    records = []
    for n in range(RECORDS):
        kind = chance.choice(KINDS)
        keys = {"pk": {"S": f"CUSTOMER#{chance.randrange(10**6)}"}, "sk": {"S": f"{kind.upper()}#{n}"}}
        own = {
            "name": {"S": f"name of {n}"},
            "email": {"S": f"somebody.{n}@example.com"},
            "street": {"S": f"{n} Example Street"},
            "city": {"S": chance.choice(["Berlin", "Lagos", "Osaka", "Quito"])},
            "status": {"S": chance.choice(["open", "paid", "sent"])},
            "currency": {"S": "EUR"},
            "amount": {"N": f"{chance.randrange(10**6) / 100}"},
            "count": {"N": str(n)},
            "created": {"S": f"2026-01-01T12:{n % 60:02}:00"},
            "changed": {"S": f"2026-01-02T12:{n % 60:02}:00"},
            "open": {"BOOL": n % 2 == 0},
            "note": {"S": "x" * chance.randrange(80)},
        }
        names = [name for name, _ in list_columns(kind, are_shared=are_shared)]
        image = {**keys, "type": {"S": kind}, **dict(zip(names, own.values(), strict=True))}
        if kind in WITH_LISTS:
            image["lines"] = {"L": [make_line(chance, position) for position in range(chance.randint(1, 3))]}
        change = {
            "ApproximateCreationDateTime": 1_767_225_600, "Keys": keys, "NewImage": image,
            "SequenceNumber": f"1{n:020}", "SizeBytes": 300, "StreamViewType": "NEW_AND_OLD_IMAGES",
        }  # fmt: skip
        records.append(
            {"eventID": f"{n:032x}", "eventName": "MODIFY", "dynamodb": change, "eventSourceARN": STREAM_ARN}
        )
    return json.dumps({"Records": records}, separators=(",", ":")).encode()


def build_path(pipeline, event):
    """Build what one invocation does with an event, but for its calls."""
    decoder, enricher, layout = Decoder(pipeline), make_enricher(pipeline), pipeline.layout

    def run():
        refined = refine(decoder.decode(event), enricher, layout, lambda _: [])
        assert not refined.changes.rejects
        return b"".join(encode_frames([refined.changes.frame], layout, pipeline.file.part_size_bytes))

    changes = decoder.decode(event)
    assert (changes.decoded_general, decoder.native_missing) == (0, "")
    return run


def measure_cpu(run):
    begun = time.process_time()
    run()
    return time.process_time() - begun


@pytest.mark.benchmark(group="targets")
@pytest.mark.parametrize("are_shared", [True, False], ids=["same attributes", "own attributes"])
def test_eight_targets_and_two_child_tables(benchmark, are_shared):
    event = make_event(are_shared=are_shared)
    one, eight = (build_path(build(are_shared=are_shared), event) for build in (build_one, build_eight))
    one(), eight()
    gc.disable()
    turns = [(measure_cpu(one), measure_cpu(eight)) for _ in range(ROUNDS)]
    gc.enable()
    ratio = median(b / a for a, b in turns)
    one_ms, eight_ms = (1000 * median(times) for times in zip(*turns, strict=True))
    benchmark.extra_info.update(ratio=ratio, one_ms=one_ms, eight_ms=eight_ms, most=MOST)
    benchmark.pedantic(eight, rounds=3)
    print(f"\neight targets and two child tables: {ratio:.2f} of one target; {eight_ms:.1f} instead of {one_ms:.1f} ms")
