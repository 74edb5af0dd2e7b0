"""Versions order as bytes; epochs are told by an event's own time; a layout's name tells layouts apart."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastetl.columns.types import RedshiftType
from fastetl.model import FileItem, Layout, follows_gap
from fastetl.versions import (
    EXPORT_LABEL,
    EpochStart,
    build_version,
    epoch_at,
    epoch_floor,
    first_change,
    list_carried,
    parse_epochs,
    write_epochs,
)

LABEL = "2020-07-16T21:40:16.972"
sequence_numbers = st.integers(min_value=1, max_value=10**40 - 1)


@given(sequence_numbers, sequence_numbers)
def test_versions_of_one_stream_order_like_their_sequence_numbers(one: int, other: int) -> None:
    versions = build_version(0, LABEL, str(one)), build_version(0, LABEL, str(other))
    assert (versions[0] < versions[1]) == (one < other)
    assert (versions[0] == versions[1]) == (one == other)


def test_a_recreated_stream_is_newer_whatever_its_numbers() -> None:
    assert build_version(0, "2021-01-01T00:00:00.000", "1") > build_version(0, LABEL, "9" * 40)


@given(sequence_numbers, st.integers(1, 9998))
def test_an_export_lies_between_its_epoch_and_the_one_before(number: int, epoch: int) -> None:
    export = build_version(epoch, EXPORT_LABEL, "0")
    assert build_version(epoch - 1, LABEL, str(number)) < export < build_version(epoch, LABEL, str(number))


def test_an_event_belongs_to_the_epoch_of_its_own_time() -> None:
    starts = (EpochStart(1, 1_000), EpochStart(2, 2_000))
    assert [epoch_at(starts, second) for second in (0, 999, 1_000, 1_999, 2_000)] == [0, 0, 1, 1, 2]
    assert epoch_at((), 5_000) == 0


@given(st.lists(st.builds(EpochStart, st.integers(1, 9999), st.integers(0, 2**40))).map(tuple))
def test_epochs_are_written_as_they_are_read(epochs: tuple[EpochStart, ...]) -> None:
    assert parse_epochs(write_epochs(epochs)) == epochs
    with pytest.raises(ValueError, match="invalid literal"):
        parse_epochs(f"{write_epochs(epochs)} 3")


def test_versions_carry_the_epochs_from_the_first_to_the_last() -> None:
    starts = tuple(EpochStart(epoch, epoch * 1000) for epoch in (1, 2, 4, 7))
    one, two, four = (build_version(epoch, LABEL, "1") for epoch in (1, 2, 4))
    assert list_carried(starts, build_version(0, LABEL, "1"), one) == starts[:1]
    assert list_carried(starts, one, four) == starts[:3]
    assert list_carried(starts, two, two) == starts[1:2]
    assert list_carried(starts, "", "") == ()


def test_any_difference_in_layout_makes_another_name() -> None:
    layout = Layout((("a", RedshiftType("BIGINT")),), ",", "gzip", r"\N", 1)
    changed = [
        msgspec.structs.replace(layout, columns=(("a", RedshiftType("INTEGER")),)),
        msgspec.structs.replace(layout, delimiter="\t"),
        msgspec.structs.replace(layout, compression="zstd"),
        msgspec.structs.replace(layout, null_marker="NULL"),
        msgspec.structs.replace(layout, encoder=2),
    ]
    assert len({layout.layout_id, *(other.layout_id for other in changed)}) == 6
    assert msgspec.json.decode(msgspec.json.encode(layout), type=Layout).layout_id == layout.layout_id


@pytest.mark.parametrize(
    ("changed", "version", "expected"),
    [
        ("2026-01-01 00:00:00.000000", build_version(0, "2025-12-01T00:00:00.000", "1"), True),
        ("2026-01-01 01:00:00.000000", build_version(0, "2025-12-01T00:00:00.000", "1"), False),
        ("2026-01-01 00:00:00.000000", build_version(1, EXPORT_LABEL, "0"), False),
        ("", "", False),
    ],
)
def test_what_was_read_when_the_stream_was_about_to_forget_it_may_follow_a_gap(
    changed: str, version: str, expected: bool
) -> None:
    read_at = datetime(2026, 1, 1, 23, 45, tzinfo=UTC).timestamp() * 1000
    file = FileItem("f", "p", "k", "l", "", 1, 1, 0, "", version, version, changed, changed, created=int(read_at))
    assert follows_gap(file) is expected


def test_versions_of_exports_are_between_those_of_epochs() -> None:
    older = build_version(0, "2026-01-01T00:00:00.000", "9" * 40)
    export = build_version(1, EXPORT_LABEL, "0")
    written = build_version(1, EXPORT_LABEL, "1767225600000000")
    newer = build_version(1, "2026-01-01T00:00:00.000", "1")
    assert older < epoch_floor(1) < export < written < first_change(1) < newer
