"""Both ways of decoding give the same frame and the same rejects, whatever comes."""

from __future__ import annotations

import base64
import json
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given, settings
from polars.testing import assert_frame_equal

from fastetl.columns.types import Column, RedshiftType
from fastetl.config.model import FileFormat, Pipeline
from fastetl.decode.decoder import Decoder
from fastetl.decode.source_arn import parse_source_arn
from fastetl.errors import EventError, MisfitError
from fastetl.versions import EpochStart

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"


def column(name: str, kind: str, *path: str | int, **changes: Any) -> Column:
    return Column(name, path or (name,), RedshiftType.parse(kind), **changes)


def make_pipeline(*columns: Column, **changes: Any) -> Pipeline:
    known: dict[str, Any] = {
        "name": "orders",
        "table": "orders",
        "keys": ("id",),
        "schema": "public",
        "target": "orders",
    }
    return Pipeline(columns=columns, **(known | changes))


def make_record(number: int = 1, image: Any = None, **changes: Any) -> dict[str, Any]:
    keys = {"id": {"N": str(number)}}
    change: dict[str, Any] = {
        "Keys": keys,
        "SequenceNumber": str(100 + number),
        "ApproximateCreationDateTime": 1767225600,
        "NewImage": {**keys, **(image or {})},
    }
    record = {"eventID": f"e{number}", "eventName": "INSERT", "eventSourceARN": ARN, "awsRegion": "eu-west-1"}
    change |= changes.pop("dynamodb", {})
    return {**record, "dynamodb": change, **changes}


def make_remove(number: int = 1, old: Any = None, **changes: Any) -> dict[str, Any]:
    record = make_record(number, eventName="REMOVE", **changes)
    del record["dynamodb"]["NewImage"]
    if old is not None:
        record["dynamodb"]["OldImage"] = {**record["dynamodb"]["Keys"], **old}
    return record


def as_bytes(*records: Any) -> bytes:
    return json.dumps({"Records": records}).encode()


def as_lambda_writes(*records: Any) -> bytes:
    return json.dumps({"Records": records}, separators=(",", ":")).encode()


def as_dict(*records: Any) -> dict[str, Any]:
    return {"Records": list(records)}


def rows_of(pipeline: Pipeline, *records: Any) -> list[dict[str, Any]]:
    changes = Decoder(pipeline).decode(as_bytes(*records))
    assert changes.rejects == ()
    names = [column.name for column in pipeline.columns]
    return changes.frame.select(names).to_dicts()


def reasons_of(pipeline: Pipeline, *records: Any) -> list[tuple[str, str]]:
    return [(reject.column, reject.reason) for reject in Decoder(pipeline).decode(as_bytes(*records)).rejects]


ID = column("id", "BIGINT")


def test_system_columns() -> None:
    pipeline = make_pipeline(ID, column("note", "VARCHAR(10)"))
    changes = Decoder(pipeline).decode(as_bytes(make_record(1, {"note": {"S": "x"}})), (EpochStart(3, 1767225600),))
    assert changes.frame.columns == [name for name, _ in pipeline.layout.columns]
    assert changes.frame.row(0) == (
        "N=1;", f"0003#2026-01-01T00:00:00.000#{101:040d}", "INSERT", "e1", "2026-01-01 00:00:00.000000", "false",
        changes.file_id, "1", "x",
    )  # fmt: skip
    assert (changes.received, changes.decoded_native, changes.decoded_general) == (1, 1, 0)
    assert changes.changed_min == changes.changed_max == "2026-01-01 00:00:00.000000"


def test_the_files_name_follows_from_the_events_alone() -> None:
    pipeline = make_pipeline(ID)
    one, two = make_record(1), make_record(2)
    name = Decoder(pipeline).decode(as_bytes(one, two)).file_id
    assert name == Decoder(make_pipeline(ID, column("note", "VARCHAR(9)"))).decode({"Records": [one, two]}).file_id
    assert name != Decoder(pipeline).decode(as_bytes(two, one)).file_id
    assert name != Decoder(pipeline).decode(as_bytes(one)).file_id


def test_keys_are_told_apart_whatever_they_hold() -> None:
    pipeline = make_pipeline(column("a", "VARCHAR(50)"), keys=("a", "b"))
    pairs = [("x;S=y", "z"), ("x", "y;S=z"), ("x\\", "z"), ("x", "\\;z"), ("x ", "z"), ("x", "z ")]
    records = []
    for number, (a, b) in enumerate(pairs):
        keys = {"a": {"S": a}, "b": {"S": b}}
        records.append(make_record(number, dynamodb={"Keys": keys, "NewImage": keys}))
    changes = Decoder(pipeline).decode(as_bytes(*records))
    assert changes.frame["_key"].n_unique() == len(pairs)
    assert changes.frame["_key"][0] == "S=x\\;S=y;S=z;"


@pytest.mark.parametrize(("number", "key"), [("1E2", "N=100;"), ("-0", "N=0;"), ("1.50", "N=1.5;"), ("7", "N=7;")])
def test_a_number_in_a_key_is_written_one_way(number: str, key: str) -> None:
    keys = {"id": {"N": number}}
    record = make_record(dynamodb={"Keys": keys, "NewImage": keys})
    assert Decoder(make_pipeline(ID_TEXT)).decode(as_bytes(record)).frame["_key"].to_list() == [key]


ID_TEXT = column("id", "VARCHAR(40)")


def test_deletes() -> None:
    expired = {"principalId": "dynamodb.amazonaws.com", "type": "Service"}
    records = [
        make_remove(1),
        make_remove(2, {"note": {"S": "old"}}),
        make_remove(3, userIdentity=expired),
        make_remove(4, {"note": {"S": "far too long"}}),
    ]
    pipeline = make_pipeline(ID, column("note", "VARCHAR(5)"))
    changes = Decoder(pipeline).decode(as_bytes(*records))
    assert changes.frame["_op"].to_list() == ["REMOVE", "REMOVE", "EXPIRE", "REMOVE"]
    assert changes.frame["_deleted"].to_list() == ["true"] * 4
    assert changes.frame["id"].to_list() == ["1", "2", "3", "4"]
    assert changes.frame["note"].to_list() == [None] * 4
    both = make_pipeline(ID, column("note", "VARCHAR(5)"), outputs=frozenset({"mirror", "log"}))
    changes = Decoder(both).decode(as_bytes(*records))
    assert changes.frame["note"].to_list() == [None, "old", None, None]
    assert (changes.rejects, changes.misfits) == ((), {("note", "too_long"): 1})


@pytest.mark.parametrize("policy", ["reject", "null", "truncate", "fail"])
def test_what_happens_to_a_misfit(policy: Any) -> None:
    pipeline = make_pipeline(ID, column("note", "VARCHAR(5)", on_misfit=policy))
    decoder, event = Decoder(pipeline), as_bytes(make_record(1, {"note": {"S": "gr\u00fc\u00dfe"}}), make_record(2))
    if policy == "fail":
        with pytest.raises(MisfitError, match="column note: too_long") as caught:
            decoder.decode(event)
        assert "gr" not in str(caught.value).replace("greater", "")
        return
    changes = decoder.decode(event)
    expected = {"reject": [None], "null": [None, None], "truncate": ["gr\u00fc", None]}[policy]
    assert changes.frame["note"].to_list() == expected
    assert changes.misfits == ({} if policy == "reject" else {("note", "too_long"): 1})


def test_undeclared_attributes() -> None:
    event = as_bytes(make_record(1, {"b": {"N": "1.50"}, "a": {"SS": ["y", "x"]}}), make_record(2))
    ignored = Decoder(make_pipeline(ID))
    assert ignored.decode(event).ignored == {"a": 1, "b": 1}
    assert ignored.decode(event).decoded_native == 2
    extra = Decoder(make_pipeline(ID, undeclared="extra")).decode(event)
    assert extra.frame["_extra"].to_list() == ['{"a":["x","y"],"b":1.5}', None]
    assert extra.decoded_native == 2
    assert reasons_of(make_pipeline(ID, undeclared="reject"), make_record(1, {"a": {"S": ""}})) == [("", "undeclared")]


def test_a_name_that_no_utf8_has_is_counted() -> None:
    event = as_lambda_writes(make_record(1, {"\ud800": {"S": "x"}, "b": {"S": "y"}}), make_record(2))
    changes = Decoder(make_pipeline(ID)).decode(event)
    assert (changes.frame["id"].to_list(), changes.ignored) == (["1", "2"], {"\ud800": 1, "b": 1})


def test_paths() -> None:
    pipeline = make_pipeline(
        column("street", "VARCHAR(20)", "address", "street"),
        column("zip", "INT", "address", "place", "zip"),
        column("first", "VARCHAR(20)", "tags", 0),
        column("all", "SUPER", "tags"),
    )
    address = {"M": {"street": {"S": "Main"}, "place": {"M": {"zip": {"N": "123"}, "more": {"S": "x"}}}}}
    full = {"address": address, "tags": {"L": [{"S": "one"}, {"NULL": True}]}}
    assert rows_of(pipeline, make_record(1, full), make_record(2), make_record(3, {"address": {"NULL": True}})) == [
        {"street": "Main", "zip": "123", "first": "one", "all": '["one",null]'},
        {"street": None, "zip": None, "first": None, "all": None},
        {"street": None, "zip": None, "first": None, "all": None},
    ]
    assert reasons_of(pipeline, make_record(1, {"address": {"S": "flat"}})) == [("street", "type")]


def test_only_the_records_that_do_not_fit_are_left() -> None:
    pipeline = make_pipeline(ID, column("amount", "DECIMAL(10,2)"))
    amounts = ["1.5", "1E1", "1.50", "x", "2"]
    records = [make_record(number, {"amount": {"N": amount}}) for number, amount in enumerate(amounts)]
    changes = Decoder(pipeline).decode(as_bytes(*records, {"eventID": "broken", "eventSourceARN": ARN}))
    assert changes.frame["amount"].to_list() == ["1.5", "10", "1.5", "2"]
    assert changes.frame["id"].to_list() == ["0", "1", "2", "4"]
    assert [(reject.event_id, reject.reason) for reject in changes.rejects] == [
        ("e3", "malformed"), ("broken", "malformed"),
    ]  # fmt: skip
    assert (changes.decoded_native, changes.decoded_general) == (4, 2)


def test_broken_text_costs_one_record_only() -> None:
    pipeline = make_pipeline(ID, column("note", "VARCHAR(10)"))
    event = as_bytes(make_record(1, {"note": {"S": "\ud800"}}), make_record(2, {"note": {"S": "fine"}}))
    changes = Decoder(pipeline).decode(event)
    assert [(reject.column, reject.reason) for reject in changes.rejects] == [("note", "surrogate")]
    assert changes.frame["note"].to_list() == ["fine"]
    assert json.loads(changes.rejects[0].record)["dynamodb"]["NewImage"]["note"] == {"S": "\ud800"}
    for write in (as_bytes, as_lambda_writes):
        broken = write(make_record(1, {"note": {"S": "?"}}), make_record(2)).replace(b'"?"', b'"\xff"')
        assert [reject.reason for reject in Decoder(pipeline).decode(broken).rejects] == ["surrogate"]


@pytest.mark.parametrize("event", [b"", b"[]", b"{}", b'{"Records": 1}', b'{"Records": []}', b"\xff"])
def test_what_is_no_event_is_an_error(event: bytes) -> None:
    with pytest.raises(EventError, match="event source mapping"):
        Decoder(make_pipeline(ID)).decode(event)


def test_a_record_of_another_table_is_a_reject_wherever_it_stands() -> None:
    other = make_record(2, eventSourceARN=ARN.replace("orders", "users"))
    for records in ([make_record(1), other], [other, make_record(1)]):
        for event in (as_bytes(*records), as_lambda_writes(*records), {"Records": records}):
            changes = Decoder(make_pipeline(ID)).decode(event)
            assert changes.frame["id"].to_list() == ["1"]
            assert [(reject.event_id, reject.reason) for reject in changes.rejects] == [("e2", "malformed")]
            assert changes.stream_arn == ARN


@pytest.mark.parametrize(
    ("arn", "version"),
    [
        (ARN.replace("2026", "2027"), "0000#2027-01-01T00:00:00.000#" + "102".rjust(40, "0")),
        (ARN + "/x", None),
        (ARN.partition("/stream/")[0], None),
        (ARN + "0" * 100, None),
        (ARN + "\u2028", None),
        ("", None),
        (None, None),
    ],
)
def test_a_record_of_another_stream_of_the_table_has_that_streams_version(arn: Any, version: str | None) -> None:
    changes = Decoder(make_pipeline(ID)).decode(as_bytes(make_record(1), make_record(2, eventSourceARN=arn)))
    assert changes.frame["_version"].to_list()[1:] == ([version] if version else [])
    assert [reject.reason for reject in changes.rejects] == ([] if version else ["malformed"])


def test_a_key_that_the_configuration_does_not_know_of_is_a_reject_that_names_it() -> None:
    record = make_record(1, dynamodb={"Keys": {"id": {"N": "1"}, "sort": {"S": "x"}}})
    for event in (as_bytes(record, make_record(2)), {"Records": [record, make_record(2)]}):
        changes = Decoder(make_pipeline(ID)).decode(event)
        assert changes.frame["id"].to_list() == ["2"]
        (reject,) = changes.rejects
        assert (reject.column, reject.reason) == ("", "keys")
        assert "lack 'sort'" in reject.detail


@pytest.mark.parametrize("seconds", [-62_135_596_800, -30_610_224_000, -1, 0, 253_402_300_799])
def test_every_time_has_a_year_of_four_digits(seconds: int) -> None:
    for is_native in (True, False):
        decoder = Decoder(make_pipeline(ID), is_native=is_native)
        changes = decoder.decode(as_lambda_writes(make_record(1, dynamodb={"ApproximateCreationDateTime": seconds})))
        (text,) = changes.frame["_changed_at"].to_list()
        assert len(text) == len("2026-01-01 00:00:00.000000"), text


def test_a_streams_arn_is_found_in_bytes_and_in_dicts() -> None:
    hostile = make_record(1, {"eventSourceARN": {"S": '"eventSourceARN":"arn:other"'}})
    for event in (as_bytes(hostile), {"Records": [hostile]}):
        assert parse_source_arn(event) == ARN


# --- both ways, the same ------------------------------------------------------------------------------------------

TEXT = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", "\0", r"\N", "\ud800", '"', ",", "\r\n", "a" * 30, "\U0001f600" * 4, "2026-02-30", "trailing ", "{}", "\\"]
    ),
    st.sampled_from(
        [
            "2026-01-01",
            "2026-01-01T10:00:00Z",
            "2026-01-01 10:00:00.123456789",
            "2026-01-01T00:30+01:00",
            "10:00:00",
            "10:00Z",
            "23:59:59.5+05:30",
        ]
    ),
)
NUMBER = st.one_of(
    st.integers(-(10**38), 10**38).map(str),
    st.integers(-40000, 40000).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9).map(str),
    st.sampled_from(
        ["1E125", "-1E-130", "-0", "0.0", "1.50", "007", "+5", "9223372036854775807", "9223372036854775808"]
    ),
    st.sampled_from(["NaN", "", "1_0", " 1", "\u0661", "1E126", "0.1", "16777217", "1E400", "1767225600.123456"]),
)
BINARY = st.one_of(st.binary(max_size=12).map(lambda raw: base64.b64encode(raw).decode()), st.just("*"))
SCALAR = st.one_of(
    st.builds(lambda text: {"S": text}, TEXT),
    st.builds(lambda number: {"N": number}, NUMBER),
    st.builds(lambda binary: {"B": binary}, BINARY),
    st.booleans().map(lambda truth: {"BOOL": truth}),
    st.just({"NULL": True}),
)
SETS = st.one_of(
    st.lists(TEXT, min_size=1, max_size=3).map(lambda texts: {"SS": texts}),
    st.lists(NUMBER, min_size=1, max_size=3).map(lambda numbers: {"NS": numbers}),
    st.lists(BINARY, min_size=1, max_size=3).map(lambda binaries: {"BS": binaries}),
)
VALUE = st.recursive(
    SCALAR | SETS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: {"L": values}),
        st.dictionaries(st.sampled_from(["x", "y", "S", "M", "\0", "\ud800"]), inner, max_size=3).map(
            lambda values: {"M": values}
        ),
    ),
    max_leaves=5,
)
NAMES = [
    "text",
    "short",
    "small",
    "whole",
    "amount",
    "cents",
    "real",
    "double",
    "flag",
    "blob",
    "day",
    "at",
    "since",
    "opens",
    "closes",
]
COLUMNS = (
    column("text", "VARCHAR(20)"),
    column("short", "CHAR(5)", on_misfit="truncate"),
    column("small", "SMALLINT"),
    column("whole", "BIGINT"),
    column("amount", "DECIMAL(38,3)"),
    column("cents", "DECIMAL(19,2)", on_misfit="null"),
    column("real", "REAL", on_misfit="null"),
    column("double", "DOUBLE PRECISION"),
    column("flag", "BOOLEAN"),
    column("blob", "VARBYTE(8)"),
    column("day", "DATE"),
    column("at", "TIMESTAMPTZ"),
    column("since", "TIMESTAMP", time_format="epoch_s"),
    column("opens", "TIME"),
    column("closes", "TIMETZ", on_misfit="null"),
    column("any", "SUPER"),
    column("inner", "INT", "nested", "x"),
    column("deep", "VARCHAR(9)", "nested", "y", "x"),
    column("item", "VARCHAR(9)", "list", 0),
)
FITTING = {
    "text": st.builds(lambda text: {"S": text}, TEXT),
    "whole": st.builds(lambda number: {"N": str(number)}, st.integers(-(2**63), 2**63 - 1)),
    "amount": st.builds(lambda number: {"N": number}, NUMBER),
    "flag": st.booleans().map(lambda truth: {"BOOL": truth}),
}
IMAGE = st.one_of(
    st.fixed_dictionaries({}, optional=FITTING),
    st.dictionaries(st.sampled_from([*NAMES, "any", "nested", "list", "stray", "other", "\ud800"]), VALUE, max_size=6),
)


@st.composite
def records(draw: Any) -> Any:
    """What DynamoDB might send, and worse."""
    number = draw(st.integers(0, 99))
    name = draw(st.sampled_from(["INSERT", "MODIFY", "MODIFY", "REMOVE", "REMOVE", "OTHER"]))
    key = draw(st.one_of(st.just(str(number)), NUMBER))
    keys = {"id": {"N": key}, "sort": draw(st.builds(lambda text: {"S": text}, TEXT) | st.just({"B": "AA=="}))}
    change: dict[str, Any] = {
        "Keys": keys,
        "SequenceNumber": draw(st.sampled_from([str(number), "9" * 40, "9" * 41, "x", ""])),
        "ApproximateCreationDateTime": draw(st.sampled_from([1767225600, 1767225600.5, 1e300, -1, "soon"])),
    }
    for image in ("NewImage", "OldImage"):
        if draw(st.booleans()):
            change[image] = {**keys, **draw(IMAGE)}
    record = {"eventID": f"e{number}", "eventName": name, "eventSourceARN": ARN, "dynamodb": change}
    if draw(st.booleans()):
        record["userIdentity"] = draw(
            st.sampled_from([None, {"principalId": "dynamodb.amazonaws.com", "type": "Service"}, {"type": "User"}])
        )
    if draw(st.integers(0, 9)) == 0:
        del record[draw(st.sampled_from(["eventID", "eventName", "dynamodb"]))]
    return record


def plain_records() -> Any:
    """Mostly what DynamoDB sends, so that whole batches go the fast way."""
    keys = st.builds(lambda number: {"id": {"N": str(number)}, "sort": {"S": "s"}}, st.integers(0, 99))
    build = lambda keys, image: make_record(1, dynamodb={"Keys": keys, "NewImage": {**keys, **image}})  # noqa: E731
    return st.builds(build, keys, st.fixed_dictionaries({}, optional=FITTING))


@settings(max_examples=120)
@given(
    events=st.lists(st.lists(st.one_of(records(), plain_records()), min_size=1, max_size=8), min_size=1, max_size=3),
    undeclared=st.sampled_from(["ignore", "extra", "reject"]),
    outputs=st.sampled_from([frozenset({"mirror"}), frozenset({"mirror", "log"})]),
    declares_key=st.booleans(),
    null_marker=st.sampled_from([r"\N", "0", "true", "null"]),
    write=st.sampled_from([as_bytes, as_lambda_writes, as_lambda_writes, as_dict]),
)
def test_both_ways_give_the_same(
    events: list[Any], undeclared: Any, outputs: Any, declares_key: bool, null_marker: str, write: Any
) -> None:
    columns = (*((column("id", "DECIMAL(38,0)", on_misfit="null"),) if declares_key else ()), *COLUMNS)
    file = FileFormat(null_marker=null_marker)
    pipeline = make_pipeline(*columns, keys=("id", "sort"), undeclared=undeclared, outputs=outputs, file=file)
    fast, general = Decoder(pipeline), Decoder(pipeline)
    for each in events:
        try:
            expected = general.decode_each({"Records": json.loads(json.dumps(each))})
        except EventError as error:
            with pytest.raises(EventError, match=str(error)[:20]):
                fast.decode(write(*each))
            continue
        found = fast.decode(write(*each))
        assert_frame_equal(found.frame, expected.frame)
        assert found.rejects == expected.rejects
        for field in ("file_id", "misfits", "ignored", "received", "changed_min", "version_max"):
            assert getattr(found, field) == getattr(expected, field), field
        assert all(dtype == pl.String for dtype in found.frame.dtypes)
        assert found.decoded_native + found.decoded_general == found.received == len(each)


def test_what_fits_goes_the_native_way_whatever_its_type() -> None:
    image = {
        "text": {"S": "x"}, "short": {"S": "abc"}, "small": {"N": "1"}, "whole": {"N": "-5"}, "amount": {"N": "1.25"},
        "cents": {"N": "9.99"}, "real": {"N": "0.5"}, "double": {"N": "1E2"}, "flag": {"BOOL": True},
        "blob": {"B": "AA=="},
        "day": {"S": "2026-01-01"}, "at": {"S": "2026-01-01T00:00:00Z"}, "since": {"N": "0"},
        "opens": {"S": "10:00:00"}, "closes": {"S": "10:00:00Z"}, "any": {"SS": ["b", "a"]},
        "nested": {"M": {"x": {"N": "7"}, "y": {"M": {"x": {"S": "deep"}}}, "z": {"NULL": True}}},
        "list": {"L": [{"S": "first"}]},
    }  # fmt: skip
    decoder = Decoder(make_pipeline(*COLUMNS, undeclared="extra", outputs=frozenset({"log"})))
    event = as_bytes(make_record(1, {**image, "more": {"N": "1"}}), make_remove(2, image), make_remove(3))
    changes = decoder.decode(event)
    assert (changes.decoded_native, changes.decoded_general) == (3, 0)
    values = changes.frame.select([column.name for column in COLUMNS])
    assert values.row(0) == values.row(1) == (
        "x", "abc", "1", "-5", "1.25", "9.99", "0.5", "100", "true", "00", "2026-01-01", "2026-01-01 00:00:00+00",
        "1970-01-01 00:00:00", "10:00:00", "10:00:00+00", '["a","b"]', "7", "deep", "first",
    )  # fmt: skip
    assert changes.frame["_extra"].to_list() == ['{"more":1}', None, None]


@pytest.mark.parametrize("kind", ["BIGINT", "VARCHAR(40)", "SUPER", "DECIMAL(38,0)"])
def test_a_key_is_written_the_same_whatever_column_takes_it(kind: str) -> None:
    pipeline = make_pipeline(column("id", kind), column("text", "VARCHAR(9)", "sort"), keys=("id", "sort"))
    records = []
    for number in range(3):
        keys = {"id": {"N": str(number)}, "sort": {"S": f"a;{number}"}}
        records.append(make_record(number, dynamodb={"Keys": keys, "NewImage": keys}))
    changes = Decoder(pipeline).decode(as_lambda_writes(*records))
    assert changes.frame["_key"].to_list() == [f"N={number};S=a\\;{number};" for number in range(3)]
    assert changes.frame["text"].to_list() == [f"a;{number}" for number in range(3)]
    assert changes.decoded_native == 3


@pytest.mark.parametrize("write", [as_lambda_writes, as_dict])
def test_what_is_kept_of_a_deleted_item_is_its_old_image(write: Any) -> None:
    expired = {"userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"}}
    event = write(
        make_remove(1, {"note": {"S": "a"}}), make_remove(2, {"note": {"S": "b"}}, **expired), make_remove(3),
        make_remove(4, **expired),
    )  # fmt: skip
    notes = {}
    for deletes in ("forget", "keep", "keep_expired"):
        column = Column("note", ("note",), RedshiftType.parse("VARCHAR(9)"))
        changes = Decoder(make_pipeline(column, deletes=deletes)).decode(event)
        notes[deletes] = changes.frame["note"].to_list()
        expected = {"forget": [], "keep": ["e3", "e4"], "keep_expired": ["e4"]}[deletes]
        assert [reject.event_id for reject in changes.rejects] == expected
        assert {reject.reason for reject in changes.rejects} <= {"no_image"}
    assert notes == {"forget": [None] * 4, "keep": ["a", "b"], "keep_expired": ["a", "b", None]}
