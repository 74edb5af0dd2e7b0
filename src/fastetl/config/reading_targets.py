"""Read what a target says of itself: its tables, columns and enrichments, and the conditions of its items."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from fastetl.columns import RULES, Column, Encoding, Misfit, RedshiftType, TimeFormat
from fastetl.config.conditions import Condition, find_asked, find_condition_problem
from fastetl.config.enrichments import OPTIONS, Filter
from fastetl.config.model import ALL, BESIDE, BESIDE_OUTPUTS, Deletes, Enrichment, OnError, Output, Pipeline
from fastetl.config.storage import DistStyle, Storage, parse_sortkey
from fastetl.identifiers import find_schema_problem, find_table_problem

if TYPE_CHECKING:
    from fastetl.config.toml_tables import Table


def read_tables(table: Table) -> dict[str, Any]:
    """Read what one target says of its tables."""
    said: dict[str, Any] = {
        "columns": tuple(_column(each) for each in table.tables("columns")),
        "outputs": table.take("outputs", frozenset[Output], frozenset({"mirror"})),
        "deletes": table.take("deletes", Deletes, "forget"),
        "enrichments": tuple(_enrichment(each) for each in table.tables("enrichments")),
        "mirror": _storage(table.table("mirror")),
        "log": _storage(table.table("log")),
    }
    if not said["outputs"]:
        table.problem(table.at("outputs"), "nothing would be loaded", 'Use ["mirror"], ["log"] or both')
    if said["deletes"] != "forget" and "mirror" not in said["outputs"]:
        remedy = "Leave it out: the log keeps every change, with what deleted items held"
        table.problem(table.at("deletes"), "it says what the mirror keeps, and there is no mirror", remedy)
    return said


def read_parts(tables: list[Table], pipeline: Pipeline) -> list[Pipeline]:
    """Read several targets, in their order.

    Args:
        tables: `[[pipelines.targets]]`.
        pipeline: that they are of.
    """
    parts: list[Pipeline] = []
    for table in tables:
        name = table.take("name", str)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
            table.problem(table.at("name"), f"{name!r} is no name of a target", "Use letters, digits, - and _")
        schema, target = read_name(table)
        named = msgspec.structs.replace(pipeline, name=name, schema=schema, target=target, part_of=pipeline.name)
        rows_of: tuple[str, ...] = table.parse("rows_of", (), _parse_names)
        parts.append(_read_child(table, named, rows_of, parts) if rows_of else _read_own(table, named))
        table.done()
    return parts


def _read_own(table: Table, named: Pipeline) -> Pipeline:
    """Read a target that takes items."""
    is_there = "when" in table
    said = read_tables(table)
    conditions = tuple(_condition(each, said["columns"]) for each in table.tables("when"))
    if not is_there:
        remedy = (
            'Say which items it takes, as when = [{ attribute = "type", equals = "order" }]; when = [] takes all that'
            " no target before it takes"
        )
        table.problem(table.at("when"), "missing", remedy)
    return msgspec.structs.replace(named, when=conditions, **said)


def _read_child(table: Table, named: Pipeline, rows_of: tuple[str, ...], before: list[Pipeline]) -> Pipeline:
    """Read a child table; without `parent` it belongs to the last target before it that is no child."""
    parents = {part.name: part for part in before}
    nearest = next((part.name for part in reversed(before) if not part.rows_of), "")
    name = table.take("parent", str, nearest)
    parent = parents.get(name)
    if parent is None:
        remedy = "Write it behind the target whose items hold the list, or name that in parent"
        table.problem(table.at("parent"), f"{name!r} is no target before this one", remedy)
    elif parent.rows_of:
        remedy = "Keep what is in an element in a column of type SUPER, and take it apart in SQL"
        table.problem(table.at("parent"), f"{name!r} is a child table, and children have no children", remedy)
    elif "mirror" not in parent.outputs:
        remedy = 'Add "mirror" to its outputs: its version decides which elements count'
        table.problem(table.at("parent"), f"{name!r} has no mirror", remedy)
    return msgspec.structs.replace(
        named,
        rows_of=rows_of,
        parent=name,
        keys=(),
        columns=tuple(_column(each) for each in table.tables("columns")),
        outputs=frozenset({"mirror"}),
        deletes=parent.deletes if parent else "forget",
        enrichments=tuple(_enrichment(each) for each in table.tables("enrichments")),
        mirror=_storage(table.table("mirror")),
        log=Storage(),
    )


def _condition(table: Table, columns: tuple[Column, ...]) -> Condition:
    equals = table.take("equals", str | bool | int, None)
    one_of = table.take("one_of", tuple[str | bool | int, ...], ())
    sql = table.take("sql", str, "")
    condition = Condition(
        attribute=table.take("attribute", str, ""),
        begins_with=table.take("begins_with", str, ""),
        like=table.take("like", str, ""),
        one_of=(*one_of, *([] if equals is None else [equals])),
        present=table.take("present", bool, None),
        sql=sql,
        asks=find_asked(sql, columns),
    )
    table.done()
    if problem := find_condition_problem(condition):
        remedy = """Write it like { attribute = "type", equals = "order" } or { sql = "total >= 100" }"""
        table.problem(table.place, problem, remedy)
    return condition


def read_name(table: Table) -> tuple[str, str]:
    """Read the schema and the table that a target is named by; the table's name is empty where it cannot be used."""
    schema, dot, target = table.take("target", str).partition(".")
    if not (schema and dot and target) or "." in target:
        remedy = 'Write it like "analytics.orders": schema and table; the database goes into [redshift]'
        table.problem(table.at("target"), "no schema and table", remedy)
        return schema, ""
    suffixes = (ALL, *BESIDE, *(suffix for each in BESIDE_OUTPUTS.values() for suffix in each))
    if problem := find_schema_problem(schema) or find_table_problem(target, suffixes):
        table.problem(table.at("target"), problem, "Choose another name")
    return schema, target


def _column(table: Table) -> Column:
    name = table.take("name", str)
    column = Column(
        name=name,
        path=table.parse("path", (name,), _parse_path),
        type=_type(table, "type"),
        on_misfit=table.take("on_misfit", Misfit, "reject"),
        time_format=table.take("time_format", TimeFormat, "iso8601"),
    )
    table.done()
    if column.on_misfit == "truncate" and not column.type.rule.shorten:
        remedy = 'Use "reject", "null" or "fail"'
        table.problem(table.at("on_misfit"), f"nothing of a {column.type} can be cut off", remedy)
    if column.time_format != "iso8601" and not column.type.rule.takes_time_format:
        table.problem(table.at("time_format"), f"{column.type} is no time", "Leave it out")
    return column


def _type(table: Table, name: str) -> RedshiftType:
    text = table.take(name, str)
    try:
        return RedshiftType.parse(text)
    except ValueError as error:
        if text:
            near = difflib.get_close_matches(text.upper().split("(")[0], RULES, 1)
            hint = f"Did you mean {near[0]}?" if near else f"Use one of {', '.join(RULES)}"
            table.problem(table.at(name), str(error), hint)
        return RedshiftType("VARCHAR", length=256)


def _enrichment(table: Table) -> Enrichment:
    kind = table.take("kind", Literal[tuple(OPTIONS)])
    inputs = table.take("inputs", tuple[str, ...], ())
    outputs = tuple(_output(each) for each in table.tables("outputs"))
    on_error = table.take("on_error", OnError, "reject")
    known = len(table.problems)
    if kind not in OPTIONS:
        # A problem is noted already; the outputs count all the same, so that what uses them is no problem as well.
        return Enrichment(Filter(""), inputs, outputs, on_error)
    options = table.take_all(OPTIONS[kind])
    table.done()
    if len(table.problems) == known:
        for setting, message, remedy in options.problems(inputs, [name for name, _ in outputs]):
            table.problem(table.at(setting), message, remedy)
    return Enrichment(options, inputs, outputs, on_error)


def _output(table: Table) -> tuple[str, RedshiftType]:
    output = (table.take("name", str), _type(table, "type"))
    table.done()
    return output


def _storage(table: Table) -> Storage:
    storage = Storage(
        diststyle=table.take("diststyle", DistStyle, "KEY"),
        distkey=table.take("distkey", str, ""),
        sortkey=table.parse("sortkey", None, parse_sortkey),
        encode=table.take("encode", dict[str, Encoding], {}),
    )
    table.done()
    return storage


def _parse_path(value: Any) -> tuple[str | int, ...]:
    parts = value.split(".") if isinstance(value, str) else value
    if not isinstance(parts, list) or not parts or not isinstance(parts[0], str):
        raise ValueError('a path is "a.b", or a list of names and list positions that begins with a name')
    for part in parts:
        if (
            isinstance(part, bool)
            or not isinstance(part, str | int)
            or part == ""
            or (isinstance(part, int) and part < 0)
        ):
            raise ValueError(f"{part!r} is neither a name nor a list position")
    return tuple(parts)


def _parse_names(value: Any) -> tuple[str, ...]:
    path = _parse_path(value)
    if not all(isinstance(step, str) for step in path):
        raise ValueError("a path of names: the elements of one list are rows")
    return tuple(map(str, path))
