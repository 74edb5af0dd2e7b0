"""Propose a target for each kind of items that a table holds, and a child table for each of their lists. Pure.

As many as one transaction takes are proposed, the most frequent kinds first; items of all others are kept with
`unrouted = "extra"`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from fastetl.columns import SYSTEM_COLUMNS
from fastetl.config import (
    CHILD_STATEMENTS,
    ELEMENT_COLUMNS,
    LOAD_STATEMENTS,
    MAX_COLUMNS,
    OUTPUT_STATEMENTS,
    Condition,
    Pipeline,
    quote_toml,
)
from fastetl.limits import MAX_STATEMENTS
from fastetl.operate.kinds import Kind, Kinds, order_kinds
from fastetl.operate.propose import Proposal, propose_columns, propose_sortkey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from fastetl.config import Output

    Item = Mapping[str, Any]

LONGEST_LIST = 24
"""Characters of a list's name that become part of a child table's."""


class TargetProposal(msgspec.Struct, frozen=True):
    """A target, or a child table, and why."""

    name: str
    target: str
    why: str
    columns: tuple[Proposal, ...]
    when: tuple[Condition, ...] = ()
    outputs: tuple[Output, ...] = ("mirror",)
    sortkey: str = ""
    sorted_why: str = ""
    rows_of: str = ""
    """Of a child table: the list."""

    def to_toml(self) -> str:
        """Write it as a table of `fastetl.toml`."""
        lines = [_write_comment(self.why), "[[pipelines.targets]]", f"name = {quote_toml(self.name)}"]
        lines.append(f"target = {quote_toml(self.target)}")
        if self.rows_of:
            lines.append(f"rows_of = [{quote_toml(self.rows_of)}]")
        else:
            lines.append(f"when = [{', '.join(map(_write_condition, self.when))}]")
            lines.append(f"outputs = [{', '.join(map(quote_toml, self.outputs))}]")
            lines.append(f"mirror = {{ sortkey = [{quote_toml(self.sortkey)}] }}  # {self.sorted_why}")
        columns = "\n".join(each.to_toml(of="pipelines.targets") for each in self.columns)
        return "\n".join(lines) + "\n\n" + columns


class TargetProposals(msgspec.Struct, frozen=True):
    """The targets of one table."""

    targets: tuple[TargetProposal, ...]
    """In the order in which their conditions are asked; each child table behind its parent."""
    left_out: tuple[str, ...]
    """What would be more than one transaction loads: names of kinds, and of lists with their kind's before them."""


def propose_targets(
    items: Sequence[Item], kinds: Kinds, pipeline: Pipeline, outputs: tuple[Output, ...] = ("mirror",)
) -> TargetProposals:
    """Propose targets for the kinds of a table's items.

    Args:
        items: the sample, as DynamoDB's API gives them.
        kinds: that were found in it.
        pipeline: its keys, its schema, and the target that names its bookkeeping.
        outputs: of each target.
    """
    needed = sum(OUTPUT_STATEMENTS[output] for output in outputs)
    # The items of all other kinds are rows of a mirror of their own.
    room = MAX_STATEMENTS - LOAD_STATEMENTS - OUTPUT_STATEMENTS["mirror"]
    chosen = kinds.all[: room // needed]
    left_out = [kind.name for kind in kinds.all[len(chosen) :]]
    room -= needed * len(chosen)
    names = _TableNames(pipeline)
    by_kind: dict[Kind, list[Item]] = {kind: [] for kind in chosen}
    for item in items:
        if (kind := kinds.kind_of(item)) in by_kind:
            by_kind[kind].append(item)
    proposed: dict[Kind, list[TargetProposal]] = {}
    for kind in chosen:
        alike, children, own = by_kind[kind], [], names.name(kind.name)
        for name in kind.lists:
            elements = _propose_columns(_list_elements(alike, name), ())
            if room >= CHILD_STATEMENTS and elements:
                room -= CHILD_STATEMENTS
                child = names.name(f"{kind.name}_{_identifier(name)}")
                why = f"the elements of {name} in items of kind {kind.name}"
                children.append(TargetProposal(child, names.table(child), why, elements, rows_of=name))
            else:
                left_out.append(f"{kind.name}.{name}")
        lists = {child.rows_of for child in children}
        columns = _propose_columns([_leave_out(item, lists) for item in alike], pipeline.keys)
        sortkey, sorted_why = propose_sortkey(columns, len(alike))
        why = f"{kind.told_by}; {kind.items:,} seen"
        target = TargetProposal(own, names.table(own), why, columns, kind.when, outputs, sortkey, sorted_why)
        proposed[kind] = [target, *children]
    ordered = [each for kind in order_kinds(chosen) for each in proposed[kind]]
    return TargetProposals(tuple(ordered), tuple(left_out))


def _propose_columns(items: Iterable[Item], keys: Sequence[str]) -> tuple[Proposal, ...]:
    """Propose as many columns as a table has room for."""
    room = MAX_COLUMNS - len(SYSTEM_COLUMNS) - len(ELEMENT_COLUMNS)
    return choose_most_seen(propose_columns(items, first=keys), len(keys), room)


def choose_most_seen(proposals: tuple[Proposal, ...], keys: int, room: int) -> tuple[Proposal, ...]:
    """Choose as many proposals as a table has room for: the keys, which come first, and those with most values.

    Args:
        proposals: for all attributes.
        keys: how many are of the key.
        room: how many columns there may be.
    """
    kept = set(sorted(proposals[keys:], key=lambda each: -each.seen)[: room - keys])
    return (*proposals[:keys], *(each for each in proposals[keys:] if each in kept))


def _list_elements(items: Iterable[Item], name: str) -> list[Item]:
    """List the maps that the lists of one name hold."""
    return [element["M"] for item in items for element in item.get(name, {}).get("L", ()) if "M" in element]


def _leave_out(item: Item, names: set[str]) -> Item:
    return {name: value for name, value in item.items() if name not in names}


class _TableNames:
    """Gives targets names whose tables and views have names of their own."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._taken = set(msgspec.structs.replace(pipeline, outputs=frozenset({"mirror", "log"})).relations)
        self._names: set[str] = set()

    def name(self, wanted: str) -> str:
        number, name = 1, wanted
        while not self._taken.isdisjoint(self._list_relations(name)):
            number += 1
            name = f"{wanted}_{number}"
        self._taken.update(self._list_relations(name))
        return name

    def table(self, name: str) -> str:
        return f"{self._pipeline.schema}.{self._pipeline.target}_{name}"

    def _list_relations(self, name: str) -> tuple[str, ...]:
        part = msgspec.structs.replace(
            self._pipeline,
            target=f"{self._pipeline.target}_{name}",
            outputs=frozenset({"mirror", "log"}),
            deletes="keep",
            part_of=self._pipeline.name,
        )
        return part.relations


def _write_condition(condition: Condition) -> str:
    attribute = f"attribute = {quote_toml(condition.attribute)}"
    if condition.one_of:
        return f"{{ {attribute}, equals = {quote_toml(str(condition.one_of[0]))} }}"
    said = "begins_with" if condition.begins_with else "like"
    return f"{{ {attribute}, {said} = {quote_toml(condition.begins_with or condition.like)} }}"


def _write_comment(text: str) -> str:
    return f"# {text if text.isprintable() else ascii(text)[1:-1]}"


def _identifier(text: str) -> str:
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:LONGEST_LIST].rstrip("_") or "list"
