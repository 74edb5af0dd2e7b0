"""The Structs that take one pipeline's events apart, and which column takes which of their fields. Pure.

Attribute values stay JSON here: they are read by the column (`decode_texts`), not one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
from msgspec.structs import astuple

from fastetl.columns import PART
from fastetl.decode.fast.documents import ABSENT
from fastetl.decode.fast.texts import SPELLINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastetl.columns import Column
    from fastetl.config import Pipeline

NO_DOCUMENT = msgspec.Raw(ABSENT)
NOT_THERE = msgspec.Raw(b"")
"""Stands for an undeclared attribute that an item does not have."""


_Leaves = list[tuple[int, tuple[str | int, ...], "Column"]]
"""Columns below one attribute: their number, what is left of their path, and themselves."""


class Field(NamedTuple):
    """What takes one field of an image, or of a map inside it."""

    columns: tuple[int, ...]
    """Columns, by their numbers."""
    members: tuple[Field, ...] = ()
    """What takes the map's members."""


class Shape:
    """What one pipeline's events look like; `learned` are the undeclared attributes that are known by name."""

    def __init__(self, pipeline: Pipeline, learned: Sequence[str]) -> None:
        self.parts: dict[int, tuple[str | int, ...]] = {}
        """Columns that take a part of an attribute's value, and the path to it."""
        leaves: dict[str, _Leaves] = {name: [] for name in pipeline.keys}
        for number, column in enumerate(pipeline.columns):
            leaves.setdefault(str(column.path[0]), []).append((number, column.path[1:], column))
        attributes, self._fields = self._build_fields(leaves)
        self.image_type = _build_struct("Image", [*attributes, *((name, msgspec.Raw, NOT_THERE) for name in learned)])
        """An item, with the attributes of its key first."""
        self.key_fields = [f"f{place}" for place in range(len(pipeline.keys))]
        self.learned_fields = [f"f{len(attributes) + place}" for place in range(len(learned))]
        self.reads_removes = not any(field.members for field in self._fields[: len(pipeline.keys)])
        """Whether an image can be made from a key alone."""
        self.columns = len(pipeline.columns)
        """How many there are."""
        keys = _build_struct("Keys", [(name, msgspec.Raw, msgspec.NODEFAULT) for name in pipeline.keys])
        record = _build_record(keys, self.image_type)
        self.record = msgspec.json.Decoder(record)
        self.records = msgspec.json.Decoder(list[record])  # type: ignore[valid-type]
        self.image = msgspec.json.Decoder(self.image_type)

    def spread(self, images: Iterable[Any]) -> tuple[list[Sequence[msgspec.Raw]], list[Sequence[msgspec.Raw]]]:
        """Give each column's values, and each learned attribute's."""
        columns: list[Sequence[msgspec.Raw]] = [()] * self.columns
        values = unzip(images)
        _spread(values, self._fields, columns)
        return columns, values[len(self._fields) :]

    def _build_fields(self, leaves: dict[str, _Leaves]) -> tuple[list[tuple[str, Any, Any]], list[Field]]:
        """Make the fields of a Struct, with the names of the attributes, from the columns below each."""
        attributes: list[tuple[str, Any, Any]] = []
        fields: list[Field] = []
        for name, below in leaves.items():
            paths = [path for _, path, _ in below]
            if below and all(path and isinstance(path[0], str) for path in paths):
                inner: dict[str, _Leaves] = {}
                for number, path, column in below:
                    inner.setdefault(str(path[0]), []).append((number, path[1:], column))
                members, member_fields = self._build_fields(inner)
                kind = _build_map(_build_struct("Members", members, more=True))
                attributes.append((name, kind, kind()))
                fields.append(Field((), tuple(member_fields)))
                continue
            tags = {column.tag for _, _, column in below}
            tag = tags.pop() if len(tags) == 1 and not any(paths) else PART
            attributes.append((name, msgspec.Raw, SPELLINGS[tag].absent if tag in SPELLINGS else NO_DOCUMENT))
            fields.append(Field(tuple(number for number, _, _ in below)))
            if tag == PART:
                self.parts |= {number: path for number, path, _ in below}
        return attributes, fields


def unzip(structs: Iterable[Any]) -> list[Sequence[Any]]:
    """Give the fields of Structs of one type, field by field."""
    return list(zip(*map(astuple, structs), strict=True))


def _spread(values: Sequence[Sequence[Any]], fields: Sequence[Field], columns: list[Sequence[msgspec.Raw]]) -> None:
    for field, found in zip(fields, values, strict=False):
        if field.members:
            _spread(unzip(each.M for each in found), field.members, columns)
        for number in field.columns:
            columns[number] = found


def _build_struct(name: str, attributes: Sequence[tuple[str, Any, Any]], *, more: bool = False) -> Any:
    return msgspec.defstruct(
        name,
        [(f"f{place}", kind, default) for place, (_, kind, default) in enumerate(attributes)],
        rename={f"f{place}": attribute for place, (attribute, _, _) in enumerate(attributes)},
        frozen=True,
        gc=False,
        forbid_unknown_fields=not more,
    )


def _build_map(members: Any) -> Any:
    fields = [("M", members, members()), ("NULL", bool, False)]
    return msgspec.defstruct("Map", fields, frozen=True, gc=False, forbid_unknown_fields=True)


def _build_record(keys: Any, image: Any) -> Any:
    change = msgspec.defstruct(
        "Change",
        [
            ("Keys", keys),
            ("SequenceNumber", str),
            ("ApproximateCreationDateTime", float),
            ("NewImage", image | None, None),
            ("OldImage", msgspec.Raw, NOT_THERE),
        ],
        gc=False,
    )
    return msgspec.defstruct(
        "Record",
        [
            ("eventID", str),
            ("eventName", Literal["INSERT", "MODIFY", "REMOVE"]),
            ("eventSourceARN", str),
            ("dynamodb", change),
            ("userIdentity", Any, None),
        ],
    )
