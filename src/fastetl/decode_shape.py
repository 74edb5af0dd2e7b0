"""The Structs that take one pipeline's events apart, and the ways to the values inside them. Pure."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.decode_columns import ABSENT, TypedColumn, TypedKey, expected_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastetl.columns import Column
    from fastetl.config import Pipeline

_HEAD = (
    "eventID",
    "eventName",
    "eventSourceARN",
    "dynamodb.SequenceNumber",
    "dynamodb.ApproximateCreationDateTime",
    "userIdentity",
)


class _KeyValue(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The value of a key attribute that no column declares."""

    S: str | None = None
    N: str | None = None
    B: str | None = None


class Shape:
    """What one pipeline's events look like; `learned` are the undeclared attributes that are known by name."""

    def __init__(self, pipeline: Pipeline, learned: Sequence[str]) -> None:
        null_marker = pipeline.file.null_marker
        roots: dict[str, list[tuple[int, tuple[str | int, ...], Column]]] = {}
        for number, column in enumerate(pipeline.columns):
            roots.setdefault(str(column.path[0]), []).append((number, column.path[1:], column))
        fields, names, ways = _build_fields(roots)
        for name in [*(name for name in pipeline.keys if name not in roots), *learned]:
            fields.append((f"f{len(names)}", msgspec.Raw, ABSENT))
            names[f"f{len(names)}"] = name
        image = msgspec.defstruct("Image", fields, rename=names, frozen=True, gc=False, forbid_unknown_fields=True)
        tags = [_key_tag(roots.get(name, [])) for name in pipeline.keys]
        self.keys = [TypedKey(tag) for tag in tags]
        keys = msgspec.defstruct(
            "Keys",
            [(f"k{number}", _LEAVES.get(tag, _KeyValue)) for number, tag in enumerate(tags)],
            rename={f"k{number}": name for number, name in enumerate(pipeline.keys)},
            frozen=True,
            gc=False,
            forbid_unknown_fields=True,
        )
        change = msgspec.defstruct(
            "Change",
            [
                ("Keys", keys),
                ("SequenceNumber", str),
                ("ApproximateCreationDateTime", float),
                ("NewImage", image | None, None),
                ("OldImage", msgspec.Raw, ABSENT),
            ],
            gc=False,
        )
        record = msgspec.defstruct(
            "Record",
            [
                ("eventID", str),
                ("eventName", str),
                ("eventSourceARN", str),
                ("dynamodb", change),
                ("userIdentity", Any, None),
            ],
        )
        self.event = msgspec.json.Decoder(msgspec.defstruct("Event", [("Records", list[record])]))  # type: ignore[valid-type]
        self.record = msgspec.json.Decoder(record)
        self.image = msgspec.json.Decoder(image)
        self.columns = [
            TypedColumn(column, ways[number][1], null_marker) for number, column in enumerate(pipeline.columns)
        ]
        groups: dict[object, list[int]] = {}
        for number, typed in enumerate(self.columns):
            if typed.absent is None:
                groups.setdefault(typed.group, []).append(number)
        self.groups = [numbers for numbers in groups.values() if len(numbers) > 1]
        """Columns of the same type, by their numbers."""
        paths = [ways[number][0] for number in range(len(pipeline.columns))]
        paths += [f"f{number}" for number in range(len(names) - len(learned), len(names))]
        key_paths = [f"dynamodb.Keys.k{number}.{tag}".rstrip(".") for number, tag in enumerate(tags)]
        self.head = attrgetter(*_HEAD)
        self.key_values = _get_all(key_paths)
        self.image_values = _get_all(paths)
        self.upsert_head = attrgetter(*_HEAD, *key_paths)
        self.key_columns = [
            (column_number, attrgetter(key_paths[key_number]))
            for key_number, name in enumerate(pipeline.keys)
            for column_number, _, _ in roots.get(name, [])
        ]
        self.reads_removes = all(ways[column_number][1] is None for column_number, _ in self.key_columns)
        """Whether the columns of key attributes can be read from `Keys` as they are from an image."""


def _get_all(paths: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    if len(paths) > 1:
        return attrgetter(*paths)
    getters = [attrgetter(path) for path in paths]
    return lambda value: tuple(getter(value) for getter in getters)


_Leaves = list[tuple[int, tuple[str | int, ...], "Column"]]
"""Columns under one attribute: their number, what is left of their path, and themselves."""


def _build_fields(
    roots: dict[str, _Leaves],
) -> tuple[list[tuple[str, Any, Any]], dict[str, str], dict[int, tuple[str, tuple[str | int, ...] | None]]]:
    """Make a Struct's fields, their names in JSON, and for each column its way and, where it stays raw, its path."""
    fields: list[tuple[str, Any, Any]] = []
    names: dict[str, str] = {}
    ways: dict[int, tuple[str, tuple[str | int, ...] | None]] = {}
    for field_number, (name, leaves) in enumerate(roots.items()):
        field = f"f{field_number}"
        names[field] = name
        tags = {expected_tag(column) for _, _, column in leaves}
        steps = [path[:1] for _, path, _ in leaves]
        if all(step == () for step in steps) and len(tags) == 1 and tags != {""}:
            (tag,) = tags
            fields.append((field, _LEAVES[tag], _LEAVES[tag]()))
            ways |= {number: (f"{field}.{tag}", None) for number, _, _ in leaves}
        elif all(step and isinstance(step[0], str) for step in steps):
            inner: dict[str, _Leaves] = {}
            for number, path, column in leaves:
                inner.setdefault(str(path[0]), []).append((number, path[1:], column))
            inner_fields, inner_names, inner_ways = _build_fields(inner)
            members = msgspec.defstruct("Members", inner_fields, rename=inner_names, frozen=True, gc=False)
            map_value = msgspec.defstruct(
                "Map",
                [("M", members, members()), ("NULL", bool, False)],
                frozen=True,
                gc=False,
                forbid_unknown_fields=True,
            )
            fields.append((field, map_value, map_value()))
            ways |= {number: (f"{field}.M.{way}", path) for number, (way, path) in inner_ways.items()}
        else:
            fields.append((field, msgspec.Raw, ABSENT))
            ways |= {number: (field, path) for number, path, _ in leaves}
    return fields, names, ways


def _build_leaf(tag: str) -> Any:
    # A value without any tag, which DynamoDB cannot send, reads as a missing one.
    content = bool if tag == "BOOL" else str
    fields = [(tag, content | None, None), ("NULL", bool, False)]
    return msgspec.defstruct(f"{tag}Value", fields, frozen=True, gc=False, forbid_unknown_fields=True)


_LEAVES = {tag: _build_leaf(tag) for tag in ("S", "N", "B", "BOOL")}


def _key_tag(leaves: _Leaves) -> str:
    """Give the type of a key attribute, where its columns agree."""
    tags = {expected_tag(column) for _, path, column in leaves if not path}
    return next(iter(tags & {"S", "N", "B"}), "") if len(tags) == 1 else ""
