"""Read what a target says of itself: its name, tables, columns and enrichments."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Literal

from fastetl.columns import RULES, Column, Encoding, Misfit, RedshiftType, TimeFormat
from fastetl.config.enrichments import OPTIONS, Filter
from fastetl.config.model import ALL, BESIDE, BESIDE_OUTPUTS, Deletes, Enrichment, OnError, Output
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
