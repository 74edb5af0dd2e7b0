"""The native pass as decoding uses it: what its rows point into, names as data, and what happens without it."""

from __future__ import annotations

import _ctypes
import ctypes
import gc
import json
import random
import threading
import weakref
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fastetl.columns import RULES, Column, RedshiftType, make_example
from fastetl.config.model import Pipeline
from fastetl.decode import Decoder, native, shared_object
from fastetl.decode.native import NativePass, free_rows
from fastetl.decode.shared_object import load_library
from tests.decode.test_decoder import (
    ID,
    as_bytes,
    as_dict,
    as_lambda_writes,
    column,
    make_pipeline,
    make_record,
    make_remove,
)

LONG = "a text that is longer than a view holds"


def decode_once(records: int = 50) -> tuple[pl.DataFrame, list[str]]:
    """A frame whose decoder and event nobody keeps."""
    notes = [f"{LONG} {number}" for number in range(records)]
    event = as_lambda_writes(*(make_record(number, {"note": {"S": note}}) for number, note in enumerate(notes)))
    changes = Decoder(make_pipeline(ID, column("note", "VARCHAR(100)"))).decode(event)
    assert changes.decoded_native == records
    return changes.frame, notes


def spoil_memory() -> list[bytes]:
    """Have what has been freed written over."""
    return [bytes([number % 256]) * 70_000 for number in range(300)]


def test_a_frame_outlives_its_event_its_decoder_and_later_events() -> None:
    frame, notes = decode_once()
    for _ in range(5):
        gc.collect()
        free_rows()
        decode_once(60)
        spoil_memory()
    assert frame["note"].to_list() == notes
    assert frame["_key"].to_list()[:2] == ["N=0;", "N=1;"]
    some = frame.filter(pl.col("id") == "7")["note"]
    del frame
    gc.collect()
    free_rows()
    decode_once(60)
    spoil_memory()
    assert some.to_list() == [notes[7]]


def test_what_no_frame_needs_is_freed_whoever_dropped_it() -> None:
    free_rows()
    before = free_rows()
    frames = [decode_once()[0] for _ in range(4)]
    assert free_rows() == before + 4
    thread = threading.Thread(target=frames.clear)
    thread.start()
    thread.join()
    assert free_rows() == before


def test_an_event_that_is_refused_leaves_nothing_behind() -> None:
    before = free_rows()
    decoder = Decoder(make_pipeline(ID))
    for broken in (b'{"Records":[', b"{}", b'{"Records":[{"eventSourceARN":"a"},]}'):
        with pytest.raises(Exception, match="event source mapping"):
            decoder.decode(broken)
    assert free_rows() == before


def test_events_as_dicts_with_blanks_and_as_bytearrays_go_the_native_way() -> None:
    decoder = Decoder(make_pipeline(ID, column("note", "VARCHAR(100)")))
    records = [make_record(1, {"note": {"S": f'{LONG} " \\ \ud83d\ude00'}}), make_record(2)]
    expected = decoder.decode(as_lambda_writes(*records))
    for event in (as_bytes(*records), json.dumps({"Records": records}, indent=3).encode(), as_dict(*records)):
        found = decoder.decode(event)
        assert (found.decoded_native, found.native_error) == (2, "")
        assert_frame_equal(found.frame, expected.frame)
    assert decoder.decode(bytearray(as_lambda_writes(*records))).decoded_native == 2


def test_a_lone_surrogate_in_a_dict_costs_one_record() -> None:
    decoder = Decoder(make_pipeline(ID, column("note", "VARCHAR(100)")))
    changes = decoder.decode(as_dict(make_record(1, {"note": {"S": "\ud800"}}), make_record(2)))
    assert (changes.decoded_native, changes.decoded_general) == (1, 1)
    assert [reject.reason for reject in changes.rejects] == ["surrogate"]


# --- names are data -----------------------------------------------------------------------------------------------

NAMES = [
    'q"uote', "back\\slash", "tab\tline\nfeed", "\u0001", "dots.and blanks ", "Case", "case", "\U0001f600", "",
    "x" * 65_535, "\u6771" * 300, "Records", "eventSourceARN", '"eventSourceARN":"other"', "M", "$1", "%s", "null",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name[:12]))
@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_any_name_works_declared_or_not(name: str, ensure_ascii: bool) -> None:
    records = [make_record(number, {name: {"S": f"value {number}"}, f"{name}2": {"N": "1"}}) for number in range(3)]
    event = json.dumps({"Records": records}, separators=(",", ":"), ensure_ascii=ensure_ascii).encode()
    declared = Decoder(make_pipeline(ID, Column("taken", (name,), RedshiftType.parse("VARCHAR(20)")))).decode(event)
    assert declared.frame["taken"].to_list() == ["value 0", "value 1", "value 2"]
    assert (declared.ignored, declared.decoded_native) == ({f"{name}2": 3}, 3)
    nested = json.dumps({"Records": [make_record(1, {"map": {"M": {name: {"N": "7"}}}})]}, ensure_ascii=ensure_ascii)
    path = Decoder(make_pipeline(ID, column("inner", "INT", "map", name), column("map", "SUPER"))).decode(
        nested.encode()
    )
    assert path.frame.select("inner", "map").row(0) == (
        "7",
        json.dumps({name: 7}, ensure_ascii=False, separators=(",", ":")),
    )
    assert path.decoded_native == 1
    extra = Decoder(make_pipeline(ID, undeclared="extra")).decode(event)
    if len(name) < 65_535:  # names inside SUPER are texts, and as long as those at most
        assert json.loads(extra.frame["_extra"][2]) == {name: "value 2", f"{name}2": 1}
        assert extra.decoded_native == 3


MEMBERS = st.dictionaries(
    st.sampled_from([name for name in NAMES if len(name) < 1_000])
    | st.sampled_from(["alike by", "alike by aa", "alike by ab", "alike by b"])
    | st.text(st.sampled_from("ab\u00e9\n\U0001f600"), max_size=12),
    st.integers(0, 9).map(lambda number: {"N": str(number)}),
    max_size=30,
)


@given(MEMBERS, MEMBERS, st.randoms(use_true_random=False), st.booleans())
def test_a_map_is_one_text_whatever_order_it_comes_in(
    members: dict[str, Any], inner: dict[str, Any], chance: random.Random, ensure_ascii: bool
) -> None:
    members |= {"inner": {"M": inner}, "list": {"L": [{"M": inner}]}}

    def shuffle(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: shuffle(value[name]) for name in chance.sample(sorted(value), len(value))}
        return [shuffle(each) for each in value] if isinstance(value, list) else value

    records = [make_record(number, {"map": {"M": shuffle(members)}}) for number in range(3)]
    event = json.dumps({"Records": records}, separators=(",", ":"), ensure_ascii=ensure_ascii).encode()
    pipeline = make_pipeline(ID, column("map", "SUPER"))
    changes, reference = Decoder(pipeline).decode(event), Decoder(pipeline, is_native=False).decode(event)
    assert_frame_equal(changes.frame, reference.frame)
    assert changes.decoded_native == 3
    (text,) = set(changes.frame["map"])
    assert list(json.loads(text)) == sorted(members)
    assert list(json.loads(text)["list"][0]) == sorted(inner)


def test_names_that_differ_by_case_are_two() -> None:
    pipeline = make_pipeline(ID, column("upper", "VARCHAR(9)", "Name"), column("lower", "VARCHAR(9)", "name"))
    changes = Decoder(pipeline).decode(
        as_bytes(make_record(1, {"name": {"S": "l"}, "Name": {"S": "u"}, "NAME": {"S": ""}}))
    )
    assert changes.frame.select("upper", "lower").row(0) == ("u", "l")
    assert changes.ignored == {"NAME": 1}


def test_many_different_names_are_counted() -> None:
    records = [make_record(number, {f"name {number} {n}": {"N": "1"} for n in range(40)}) for number in range(100)]
    changes = Decoder(make_pipeline(ID)).decode(as_lambda_writes(*records))
    assert (len(changes.ignored), set(changes.ignored.values()), changes.decoded_native) == (4000, {1}, 100)


def test_an_event_does_not_depend_on_those_before_it() -> None:
    hostile = as_lambda_writes(
        make_record(1, {name: {"S": "\ud800"} for name in NAMES}), make_remove(2, {"x": {"M": {}}})
    )
    plain = as_lambda_writes(*(make_record(number, {"note": {"S": LONG}}) for number in range(3)))
    decoder = Decoder(make_pipeline(ID, column("note", "VARCHAR(100)")))
    first = decoder.decode(plain)
    decoder.decode(hostile)
    again = decoder.decode(plain)
    assert_frame_equal(first.frame, again.frame)
    assert (again.ignored, again.decoded_native) == ({}, 3)


# --- malformed records are rejects, one each ------------------------------------------------------------------------


def nest(levels: int) -> Any:
    value: Any = {"N": "1"}
    for _ in range(levels):
        value = {"L": [value]}
    return value


@pytest.mark.parametrize("is_native", [True, False])
@pytest.mark.parametrize("levels", [150, 450, 900, 5_000, 100_000])
@pytest.mark.parametrize("declared", ["SUPER", ""])
def test_deep_nesting_is_one_records_trouble(is_native: bool, levels: int, declared: str) -> None:
    opening, closing = '{"L":[' * levels, "]}" * levels
    records = [json.dumps(make_record(number, {"deep": {"S": "MARK"}})) for number in range(3)]
    records[1] = records[1].replace('{"S": "MARK"}', f'{opening}{{"S":"\u00e9"}}{closing}')
    event = f'{{"Records":[{",".join(records)}]}}'.encode()
    columns = [ID, column("deep", declared)] if declared else [ID]
    changes = Decoder(make_pipeline(*columns), is_native=is_native).decode(event)
    assert changes.frame["id"].to_list() == ["0", "2"]
    (reject,) = changes.rejects
    assert (reject.reason, reject.column) == ("malformed", "")
    assert reject.record.isascii()
    assert reject.record.count("[") == levels
    assert changes.native_error == ""
    assert changes.received == 3


@pytest.mark.parametrize("levels", [90, 300, 450])
def test_deep_nesting_in_a_dict_is_one_records_trouble(levels: int) -> None:
    changes = Decoder(make_pipeline(ID)).decode(as_dict(make_record(0), make_record(1, {"deep": nest(levels)})))
    assert changes.frame["id"].to_list() == ["0"] if levels > 90 else ["0", "1"]
    assert [json.loads(reject.record)["eventID"] for reject in changes.rejects] == (["e1"] if levels > 100 else [])


def test_as_deep_as_dynamodb_nests_is_not_too_deep() -> None:
    record = make_record(1, {"deep": nest(32)})
    changes = Decoder(make_pipeline(ID, column("deep", "SUPER"))).decode(as_lambda_writes(record))
    assert changes.frame["deep"].to_list() == ["[" * 32 + "1" + "]" * 32]
    assert changes.decoded_native == 1


@pytest.mark.parametrize("is_native", [True, False])
@pytest.mark.parametrize("name", [["INSERT"], {"INSERT": 1}, 1, None, "insert", True])
def test_an_event_name_of_any_form_is_a_reject(is_native: bool, name: Any) -> None:
    changes = Decoder(make_pipeline(ID), is_native=is_native).decode(
        as_bytes(make_record(1, eventName=name), make_record(2))
    )
    assert changes.frame["id"].to_list() == ["2"]
    assert [(reject.event_id, reject.reason) for reject in changes.rejects] == [("e1", "malformed")]


# --- without the native pass ----------------------------------------------------------------------------------------


@pytest.fixture
def unloaded() -> Any:
    load_library.cache_clear()
    yield
    load_library.cache_clear()


@pytest.mark.parametrize("why", ["missing", "damaged", "foreign", "old", "processor"])
@pytest.mark.usefixtures("unloaded")
def test_without_the_object_the_reference_decodes_everything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, why: str
) -> None:
    path = tmp_path / "object.so"
    monkeypatch.setattr(shared_object, "find_object", lambda _machine: path)
    if why == "damaged":
        path.write_bytes(b"\x7fELF no more")
    if why == "foreign":
        path.write_bytes(Path(_ctypes.__file__).read_bytes())
    if why in {"old", "processor"}:
        monkeypatch.undo()
    if why == "old":
        monkeypatch.setattr(shared_object, "VERSION", shared_object.VERSION + 1)
    if why == "processor":
        monkeypatch.setattr(shared_object, "_processor_flags", set)
        monkeypatch.setattr(shared_object, "_NEEDED_FLAGS", {machine: {"avx9"} for machine in ("x86_64", "aarch64")})
    decoder = Decoder(make_pipeline(ID))
    assert decoder.native_missing
    changes = decoder.decode(as_bytes(make_record(1)))
    assert (changes.decoded_native, changes.decoded_general, changes.native_error) == (0, 1, "")
    assert changes.frame["id"].to_list() == ["1"]


def test_a_pipeline_that_the_pass_cannot_serve_does_not_keep_others_from_it() -> None:
    wide = make_pipeline(*(column(f"c{number}", "INT") for number in range(1601)))
    assert "no plan" in Decoder(wide).native_missing or "NativeError" in Decoder(wide).native_missing
    assert Decoder(wide).decode(as_bytes(make_record(1))).decoded_general == 1
    assert Decoder(make_pipeline(ID)).native_missing == ""


@pytest.mark.parametrize("place", ["decode", "frame"])
def test_an_event_on_which_the_pass_fails_goes_to_the_reference_and_says_so(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    decoder, event = Decoder(make_pipeline(ID)), as_bytes(make_record(1, {"secret": {"S": "s3cret"}}), make_record(2))
    expected = decoder.decode(event)
    before = free_rows()

    def fail(*_: Any) -> Any:
        raise KeyError("s3cret")

    with monkeypatch.context() as patch:
        patch.setattr(NativePass if place == "decode" else native.NativeRows, place, fail)
        changes = decoder.decode(event)
        assert changes.native_error.startswith("KeyError at test_native.py:")
        assert (changes.decoded_native, changes.decoded_general, changes.ignored) == (0, 2, {"secret": 1})
        assert_frame_equal(changes.frame, expected.frame)
    del changes
    gc.collect()
    assert free_rows() == before
    assert decoder.decode(event).native_error == ""


def test_memory_that_runs_out_leaves_the_event_to_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Decoder(make_pipeline(ID))
    library = load_library()
    assert isinstance(library, ctypes.PyDLL)

    class Exhausted:
        fastetl_free = library.fastetl_free
        fastetl_plan_free = library.fastetl_plan_free

        @staticmethod
        def fastetl_decode(*_: Any) -> None:
            return None

    monkeypatch.setattr(decoder._native, "_library", Exhausted())
    changes = decoder.decode(as_bytes(make_record(1)))
    assert changes.native_error.startswith("MemoryError at native.py:")
    assert changes.frame["id"].to_list() == ["1"]


def test_a_decoder_is_freed_with_its_plan() -> None:
    decoder = Decoder(make_pipeline(ID))
    gone = weakref.ref(decoder._native)
    del decoder
    gc.collect()
    assert gone() is None


def test_a_failing_policy_fails_whichever_way_the_record_goes() -> None:
    pipeline: Pipeline = make_pipeline(ID, column("note", "VARCHAR(5)", on_misfit="fail"))
    with pytest.raises(Exception, match="column note: too_long"):
        Decoder(pipeline).decode(as_lambda_writes(make_record(1), make_record(2, {"note": {"S": LONG}})))


KINDS = [
    *((kind, "iso8601") for kind in RULES),
    *((kind, unit) for kind in ("DATE", "TIMESTAMP", "TIMESTAMPTZ") for unit in ("epoch_s", "epoch_ms", "epoch_us")),
]


@pytest.mark.parametrize(("kind", "time_format"), KINDS)
def test_the_pass_takes_values_of_every_type(kind: str, time_format: Any) -> None:
    """A type that it knows under another one's number is either left to the reference, or another text."""
    declared = Column("c", ("c",), RedshiftType.parse(kind), time_format=time_format)
    values = [make_example(declared, random.Random(seed)) for seed in range(5)]
    event = as_lambda_writes(*(make_record(number, {"c": value}) for number, value in enumerate(values)))
    decoder = Decoder(make_pipeline(ID, declared))
    changes = decoder.decode(event)
    assert (changes.decoded_native, changes.rejects) == (len(values), ())
    assert_frame_equal(changes.frame, decoder.decode_each(event).frame)


@pytest.mark.parametrize(("kind", "bits"), [("SMALLINT", 15), ("INTEGER", 31), ("BIGINT", 63)])
def test_the_pass_takes_integers_up_to_the_types_last_and_no_further(kind: str, bits: int) -> None:
    numbers = [2**bits - 1, 1 - 2**bits, 2**bits, -(2**bits) - 1, 2 ** (bits + 1)]
    event = as_lambda_writes(*(make_record(place, {"c": {"N": str(n)}}) for place, n in enumerate(numbers)))
    changes = Decoder(make_pipeline(ID, column("c", kind))).decode(event)
    assert changes.frame["c"].to_list() == [str(n) for n in numbers[:2]]
    assert [(reject.column, reject.reason) for reject in changes.rejects] == [("c", "range")] * 3


@pytest.mark.parametrize("event", [b"no json", b'"'])
def test_what_is_no_json_is_not_made_compact(event: bytes) -> None:
    passing = Decoder(make_pipeline(ID))._native
    assert passing is not None
    assert passing._compact(event) is None
    assert bytes(passing._compact(b'{ "a" : [ 1 , 2 ] }') or b"") == b'{"a":[1,2]}'
