"""Changed events and lines through the native pass and through the reference: the same rows, or the same refusal.

`python -m tests.native.differential SECONDS SEED` goes on for that long. What differs is written into a file.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from fastetl.backfill.export_format import Export, ExportReader
from fastetl.columns import Column, RedshiftType
from fastetl.config import FileFormat, Pipeline
from fastetl.decode import Changes, Decoder
from fastetl.decode.native import free_rows
from fastetl.errors import FastetlError
from fastetl.versions import EpochStart

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"
EPOCHS = (EpochStart(1, 1_767_225_600), EpochStart(2, 1_767_225_700))

TYPES = {
    "text": "VARCHAR(20)", "short": "CHAR(5)", "small": "SMALLINT", "middle": "INTEGER", "whole": "BIGINT",
    "amount": "DECIMAL(18,2)", "cents": "DECIMAL(19,4)", "most": "DECIMAL(38,0)", "part": "DECIMAL(6,6)",
    "real": "REAL", "double": "DOUBLE PRECISION", "flag": "BOOLEAN", "blob": "VARBYTE(8)", "day": "DATE",
    "at": "TIMESTAMP", "zoned": "TIMESTAMPTZ", "opens": "TIME", "closes": "TIMETZ", "any": "SUPER",
    'q"uo\\te\u0001': "VARCHAR(40)", "\U0001f600": "BIGINT",
}  # fmt: skip
EPOCH_TYPES = {
    "since_day": ("DATE", "epoch_s"), "since": ("TIMESTAMP", "epoch_s"), "since_ms": ("TIMESTAMPTZ", "epoch_ms"),
    "since_us": ("TIMESTAMP", "epoch_us"),
}  # fmt: skip
PATHS = {
    "inner": ("INTEGER", ("nested", "x")), "deep": ("VARCHAR(9)", ("nested", "y", "x")), "all": ("SUPER", ("nested",)),
    "first": ("VARCHAR(9)", ("list", 0)), "third": ("DECIMAL(9,2)", ("list", 2, "y", 0)),
    "mixed": ("SUPER", ("list", 1)),
}  # fmt: skip

CORPUS = Path(__file__).parents[2] / "native/corpus"


def read_corpus(name: str) -> list[bytes]:
    """Read the JSON texts of a file, one a line; some are no UTF-8."""
    return (CORPUS / name).read_bytes().removesuffix(b"\n").split(b"\n")


VALUES, TOKENS, NAMES = map(read_corpus, ("values", "tokens", "names"))
SIGNS = [b'"', b"\\", b"{", b"}", b",", b" ", b"\xc3", b"\n", b"\\u00e9", b"[", b"]", b":", b"\\ud800", b"\t"]

_PLACES = re.compile(
    rb'\{"(?:S|N|B)":"(?:[^"\\]|\\.)*"\}|\{"BOOL":(?:true|false)\}|"(?:INSERT|MODIFY|REMOVE)"|(?<=:)\d{10}\b|null'
)


def build_columns(chance: random.Random) -> tuple[Column, ...]:
    """Choose columns of every type, by attribute or by path, with any policy but `fail`."""
    made = [
        Column(f"c{number}", (name,), RedshiftType.parse(kind)) for number, (name, kind) in enumerate(TYPES.items())
    ]
    made += [
        Column(name, (name,), RedshiftType.parse(kind), time_format=form) for name, (kind, form) in EPOCH_TYPES.items()
    ]
    made += [Column(name, path, RedshiftType.parse(kind)) for name, (kind, path) in PATHS.items()]
    made.append(Column("again", ("text",), RedshiftType.parse("VARCHAR(9)")))
    made.append(Column("key", ("id",), RedshiftType.parse(chance.choice(["VARCHAR(40)", "BIGINT", "SUPER"]))))
    chosen = chance.sample(made, chance.randrange(1, len(made)))
    policies = ["reject", "reject", "null", "truncate"]
    return tuple(msgspec.structs.replace(column, on_misfit=chance.choice(policies)) for column in chosen)


def build_pipeline(chance: random.Random) -> Pipeline:
    """Choose a pipeline."""
    keys = chance.choice([("id",), ("id", "sort"), ("sort",)])
    return Pipeline(
        "orders", "orders", keys, "public", "orders", build_columns(chance),
        undeclared=chance.choice(["ignore", "ignore", "extra", "reject"]),
        outputs=chance.choice([frozenset({"mirror"}), frozenset({"mirror", "log"})]),
        deletes=chance.choice(["forget", "forget", "keep", "keep_expired"]),
        file=FileFormat(null_marker=chance.choice([r"\N", r"\N", "0", "true", "null", "x"])),
    )  # fmt: skip


MEMBERS = [
    "", "a", "a\0", "alike by eight", "alike by eight, and more", "alike by", "alike", "Alike", 'q"uote',
    "back\\slash", "\u00e9", "\u6771\u4eac", "\U0001f600", "tab\t", *(f"number {number}" for number in range(20)),
]  # fmt: skip


def build_map(chance: random.Random) -> dict[str, Any]:
    """Make up a map whose members come in any order, with maps in it."""
    names = chance.sample(MEMBERS, chance.choice([0, 1, 2, 2, 3, 5, len(MEMBERS)]))
    return {
        "M": {name: build_map(chance) if chance.random() < 0.1 else {"N": f"{chance.random():.2f}"} for name in names}
    }


TEXTS = ["", "short", "longer than a view", "caf\u00e9 \u6771\u4eac", 'with "quotes" \\ and\nlines']


def build_item(chance: random.Random) -> dict[str, Any]:
    """Make up attributes, most of which fit."""
    fitting: dict[str, Any] = {
        "text": {"S": chance.choice(TEXTS)},
        "short": {"S": chance.choice(["a", "abcde"])}, "small": {"N": str(chance.randrange(-40000, 40000))},
        "middle": {"N": str(chance.randrange(-(2**31), 2**31))}, "whole": {"N": str(chance.getrandbits(62))},
        "amount": {"N": f"{chance.randrange(10**6)}.{chance.randrange(100):02d}"},
        "cents": {"N": f"1.{chance.randrange(10**4):04d}"},
        "most": {"N": str(chance.getrandbits(126))}, "part": {"N": f"0.{chance.randrange(10**6):06d}"},
        "real": {"N": repr(chance.choice([0.5, 1e10, round(chance.random(), chance.randrange(1, 9))]))},
        "double": {"N": repr(chance.random() * 10 ** chance.randrange(-20, 20))},
        "flag": {"BOOL": chance.random() < 0.5}, "blob": {"B": "AAEC"},
        "day": {"S": f"20{chance.randrange(100):02d}-02-28"}, "at": {"S": "2026-01-31T23:59:59"},
        "zoned": {"S": "2026-01-31T23:59:59.120+01:30"}, "opens": {"S": "09:30"},
        "closes": {"S": chance.choice(["18:00:00.5Z", "23:59:59+05:30"])},
        "any": build_map(chance),
        'q"uo\\te\u0001': {"S": "hostile"}, "\U0001f600": {"N": "1"},
        "since_day": {"N": str(86400 * chance.randrange(20000))},
        "since": {"N": str(chance.randrange(2**31))}, "since_ms": {"N": str(chance.randrange(2**41))},
        "since_us": {"N": str(chance.randrange(2**50))},
        "nested": {"M": {"x": {"N": "7"}, "y": {"M": {"x": {"S": "deep"}}}}},
        "list": {"L": [{"S": "first"}, {"SS": ["b", "a"]}, {"M": {"y": {"L": [{"N": "2.5"}]}}}]},
        "stray": {"S": "undeclared"}, 'st"ray': {"NS": ["2", "1"]},
    }  # fmt: skip
    names = chance.sample(sorted(fitting), chance.randrange(len(fitting)))
    return {name: fitting[name] for name in names}


def build_event(chance: random.Random, keys: tuple[str, ...]) -> bytes:
    """Make up an event, as Lambda writes it."""
    records = []
    for number in range(chance.randrange(1, 6)):
        key = {"id": {"N": str(number)}, "sort": {"S": f"a;{number}"}}
        key = {name: key[name] for name in keys}
        item = {**key, **build_item(chance)}
        name = chance.choice(["INSERT", "MODIFY", "REMOVE"])
        change: dict[str, Any] = {
            "ApproximateCreationDateTime": 1_767_225_600 + chance.randrange(200), "Keys": key,
            "SequenceNumber": str(10**20 + number), "SizeBytes": 10,
        }  # fmt: skip
        if name != "REMOVE":
            change["NewImage"] = item
        if name != "INSERT" and chance.random() < 0.7:
            change["OldImage"] = item
        record: dict[str, Any] = {"eventID": f"e{number}", "eventName": name, "dynamodb": change, "eventSourceARN": ARN}
        if chance.random() < 0.2:
            record["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
        records.append(record)
    return _write({"Records": records}, chance)


def build_lines(chance: random.Random, keys: tuple[str, ...], *, incremental: bool) -> bytes:
    """Make up lines of an export."""
    lines = []
    for number in range(chance.randrange(1, 6)):
        key = {"id": {"N": str(number)}, "sort": {"S": f"a;{number}"}}
        key = {name: key[name] for name in keys}
        item = {**key, **build_item(chance)}
        line: dict[str, Any] = {"Item": item}
        if incremental:
            line = {"Metadata": {"WriteTimestampMicros": {"N": str(1_767_225_600_000_000 + number)}}, "Keys": key}
            if chance.random() < 0.7:
                line["NewImage"] = item
            if chance.random() < 0.5:
                line["OldImage"] = item
        lines.append(_write(line, chance))
    return b"\n".join(lines) + b"\n"


def _write(value: Any, chance: random.Random) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=chance.random() < 0.3).encode()


def change_bytes(text: bytes, chance: random.Random) -> bytes:
    """Put odd values in place of some, other names, or break bytes."""
    kind = chance.random()
    if kind < 0.1:
        return text
    if kind < 0.75:
        places = [match.span() for match in _PLACES.finditer(text)]
        for start, end in sorted(chance.sample(places, min(len(places), chance.randrange(1, 6))), reverse=True):
            is_value = text[start : start + 1] == b"{"
            text = text[:start] + chance.choice(VALUES if is_value or chance.random() < 0.1 else TOKENS) + text[end:]
        if chance.random() < 0.5:
            places = [match.span() for match in re.finditer(rb'"(?:[^"\\]|\\.)*":', text)]
            start, end = chance.choice(places or [(0, 0)])
            text = text[:start] + chance.choice(NAMES) + b":" + text[end:]
        return text
    for _ in range(chance.randrange(1, 4)):
        at, how = chance.randrange(len(text) or 1), chance.random()
        if how < 0.4:
            text = text[:at] + bytes([chance.randrange(256)]) + text[at + 1 :]
        elif how < 0.6:
            text = text[:at] + text[at + chance.randrange(1, 6) :]
        elif how < 0.8:
            text = text[:at] + chance.choice(SIGNS) + text[at:]
        else:
            other = chance.randrange(len(text) or 1)
            text = text[:at] + text[other : other + chance.randrange(1, 200)] + text[at:]
    return text


COMPARED = (
    "file_id", "stream_arn", "received", "rejects", "misfits", "ignored", "changed_min", "changed_max", "version_min",
    "version_max", "native_error",
)  # fmt: skip


def find_differences(one: Changes, other: Changes) -> list[str]:
    """Name what differs."""
    found = [name for name in COMPARED if getattr(one, name) != getattr(other, name)]
    same = one.frame.equals(other.frame, null_equal=True) and one.frame.schema == other.frame.schema
    return found if same else [*found, "frame"]


class Fuzzer:
    """Tries one changed event after the other; the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.differences: list[str] = []
        self._pipelines = [build_pipeline(self.chance) for _ in range(40)]
        self._decoders = [(Decoder(each), Decoder(each, is_native=False)) for each in self._pipelines]
        assert not [native.native_missing for native, _ in self._decoders if native.native_missing]

    def step(self) -> None:
        """Try one."""
        chance = self.chance
        number = chance.randrange(len(self._pipelines))
        pipeline, (native, reference) = self._pipelines[number], self._decoders[number]
        kind = chance.choice(["event", "event", "event", "full", "incremental"])
        if kind == "event":
            text = change_bytes(build_event(chance, pipeline.keys), chance)
            found, expected = (_outcome(lambda each=each: each.decode(text, EPOCHS)) for each in (native, reference))
        else:
            export = Export("export", "arn:aws:dynamodb:x:1:table/orders", kind, 1_767_225_650, 1, "")
            reader = ExportReader(export, pipeline.keys, "data")
            text = change_bytes(build_lines(chance, pipeline.keys, incremental=kind == "incremental"), chance)
            found, expected = (
                _outcome(lambda each=each: each.decode_lines(text, reader, 7, EPOCHS, "f" * 32))
                for each in (native, reference)
            )
        self.counts[kind] += 1
        self._compare(found, expected, text, pipeline)

    def _compare(self, found: Any, expected: Any, text: bytes, pipeline: Pipeline) -> None:
        if isinstance(found, str) or isinstance(expected, str):
            self.counts["refused"] += 1
            differences = [] if found == expected else [f"{found} / {expected}"]
        else:
            self.counts["native rows"] += found.decoded_native
            self.counts["left"] += found.decoded_general
            differences = find_differences(found, expected)
        if differences:
            self.differences.append(f"{differences}: {text!r} with {pipeline}")


def _outcome(run: Any) -> Changes | str:
    try:
        changes: Changes = run()
    except FastetlError as error:
        return f"{type(error).__name__}: {error}"
    return changes


def main(seconds: float, seed: int) -> int:
    """Try events for that long; tell how many differ."""
    fuzzer = Fuzzer(seed)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and len(fuzzer.differences) < 10:
        fuzzer.step()
    assert free_rows() <= 1
    print(dict(fuzzer.counts), "differences:", len(fuzzer.differences))  # noqa: T201
    for difference in fuzzer.differences:
        with Path(f"difference-{seed}.txt").open("a") as file:
            file.write(difference + "\n")
        print(difference[:1500])  # noqa: T201
    return len(fuzzer.differences)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2])))
