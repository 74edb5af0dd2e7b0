"""Several targets of one pipeline: what is decoded for all of them at once, and how their rows share a file. Pure.

Each target is a pipeline of its own as far as columns, enrichments and tables go (`Pipeline.parts`). An item belongs to
the first target whose conditions hold. Of a record, only its own target's columns count.

- *Decoding.* The pipeline's `columns` are those of all targets, each once: two targets' columns with the same path,
  type and policy are decoded as one. Before them comes what conditions ask: attributes as JSON, and columns.
- *Child tables.* A target may have a row for each element of a list that another target's items hold. The list is
  decoded as the event spells it, and its elements by the child's columns once it is known whose item it is.
- *Files.* A row has values of one target only, so that columns of one type share places: the file has as many places of
  a type as the target with most columns of it. Its layout says where each target's columns are.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from fastetl.columns import SYSTEM_COLUMNS, Column, RedshiftType
from fastetl.config.conditions import list_questions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastetl.config.model import Pipeline

Columns = tuple[tuple[str, RedshiftType], ...]

ELEMENT_COLUMNS: Columns = (
    ("_position", RedshiftType("BIGINT")),
    ("_name", RedshiftType("VARCHAR", length=1024)),
)
"""Of a child table: an element's place in a list, from 0, or its name in a map. `native/src/elements.zig` has the
length as well."""
REST = "_rest"
"""The target of the items that no other takes, with `unrouted = "extra"`; the names of others begin otherwise."""
SCALAR = "_value"
"""The attribute under which a column finds an element that is no map."""

_SYSTEM = {name for name, _ in SYSTEM_COLUMNS}


def split_pipeline(pipeline: Pipeline, parts: Sequence[Pipeline]) -> Pipeline:
    """Give a pipeline that carries its table to several targets.

    Args:
        pipeline: without columns and outputs of its own.
        parts: the targets.
    """
    outputs = frozenset(output for part in parts for output in part.outputs)
    return msgspec.structs.replace(pipeline, parts=tuple(parts), columns=join_columns(parts), outputs=outputs)


def build_rest(pipeline: Pipeline, parts: Sequence[Pipeline]) -> Pipeline:
    """Build the target of the items that no other takes: the key, and all else in the extra column.

    Args:
        pipeline: whose own target it has.
        parts: the other targets; the key's columns are named and typed as in the first that has them.
    """
    found: dict[str, Column] = {}
    for column in (column for part in parts for column in part.columns if not part.rows_of):
        if len(column.path) == 1 and column.path[0] in pipeline.keys:
            found.setdefault(str(column.path[0]), column)
    return msgspec.structs.replace(
        pipeline,
        name=REST,
        part_of=pipeline.name,
        undeclared="extra",
        columns=tuple(found[key] for key in pipeline.keys if key in found),
        outputs=frozenset({"mirror"}),
    )


def find_type_attribute(parts: Sequence[Pipeline], keys: Sequence[str]) -> tuple[str, bool]:
    """Find the attribute that tells the kinds of items apart: the one that most conditions ask.

    Args:
        parts: the targets.
        keys: the names of the key attributes.

    Returns:
        The attribute's name, empty where no condition asks any, and whether it is of the key.
    """
    conditions = [condition for part in parts for condition in part.when]
    asked = Counter(each.attribute for each in conditions if each.attribute and each.present is None)
    # An attribute that is compared as a whole names a kind; a key's beginning does only where there is no other.
    best = max(asked, key=lambda name: (name not in keys, asked[name]), default="")
    return best, best in keys


def name_list(path: Sequence[str]) -> str:
    """Name the column that holds a list or map as the event spells it.

    Args:
        path: of the list or map.
    """
    return f"rows of {'.'.join(path)}"


def join_columns(parts: Sequence[Pipeline]) -> tuple[Column, ...]:
    """List the columns that are decoded for all targets: what conditions ask, then the targets' own."""
    questions = list_questions(condition for part in parts for condition in part.when)
    own: dict[object, Column] = {}
    for part in parts:
        for column in part.columns if not part.rows_of else ():
            own.setdefault(_identify(column), msgspec.structs.replace(column, name=f"{part.name}.{column.name}"))
    return (*questions, *own.values())


def locate_columns(pipeline: Pipeline, part: Pipeline) -> dict[str, str]:
    """Give, for each column of a target, the name under which it is decoded for all targets.

    Args:
        pipeline: with several targets.
        part: one of them.

    Returns:
        Names in the pipeline's columns by the target's own.
    """
    joined = {_identify(column): column.name for column in pipeline.columns}
    return {column.name: joined[_identify(column)] for column in part.columns}


def _identify(column: Column) -> object:
    return msgspec.structs.replace(column, name="")


def share_places(parts: Sequence[Pipeline]) -> tuple[Columns, tuple[tuple[str, tuple[tuple[str, str], ...]], ...]]:
    """Give the places of values in files, with their types, and for each target where its columns are."""
    places: dict[str, RedshiftType] = {}
    located = []
    for part in parts:
        taken: Counter[RedshiftType] = Counter()
        own = []
        for name, kind in part.layout.columns:
            if name not in _SYSTEM:
                taken[kind] += 1
                place = re.sub(r"\W+", "_", f"{kind} {taken[kind]}".lower())
                places[place] = kind
                own.append((name, place))
        located.append((part.name, tuple(own)))
    return tuple(places.items()), tuple(located)
