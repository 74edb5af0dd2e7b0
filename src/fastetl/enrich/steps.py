"""The kinds of enrichment: from what the configuration says to a function from frame to frame. Pure."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from fastetl.columns import RedshiftType
from fastetl.errors import EnrichmentError

if TYPE_CHECKING:
    from fastetl.config import Enrichment

KEEPS = "keeps"
"""The column in which a filter says which rows it keeps."""


class Given(msgspec.Struct, frozen=True):
    """What one enrichment gives."""

    frame: pl.DataFrame
    """It has the outputs, or for a filter `KEEPS`; other columns are not looked at."""
    counts: dict[str, int] = {}
    """By event; `unfit` are values that are NULL because their column cannot hold them."""
    written: bool = False
    """The outputs are text for COPY already."""


Step = Callable[[pl.DataFrame], Given]
"""From a frame of the inputs to what an enrichment gives for them."""


class Surroundings(msgspec.Struct, frozen=True):
    """What an enrichment finds around it."""

    types: Mapping[str, RedshiftType]
    """Of the columns that are there before it."""
    untouchable: frozenset[str]
    """Columns that no enrichment may change."""
    null_marker: str
    environ: Mapping[str, str]
    references: Mapping[str, Path]
    """Where the files lie that the configuration names as `source`."""


def build_step(enrichment: Enrichment, around: Surroundings) -> tuple[Step, Sequence[str]]:
    """Build what an enrichment does, and name the columns that it reads.

    Raises:
        EnrichmentError: it cannot work as it is configured.
    """
    match enrichment.kind:
        case "function":
            return _uncounted(_import(enrichment.function)), enrichment.inputs
        case "expression":
            if len(enrichment.outputs) != 1:
                raise EnrichmentError("expression needs one output: name and type")
            return _build_expression(enrichment, _outputs(enrichment)[0])
        case "filter":
            return _build_expression(enrichment, KEEPS)
        case "mask":
            return _build_mask(enrichment, around), _outputs(enrichment)
        case "geoip":
            return _build_geoip(enrichment, around), enrichment.inputs
        case "lookup":
            return _build_lookup(enrichment, around), enrichment.inputs


def _outputs(enrichment: Enrichment) -> tuple[str, ...]:
    if not enrichment.outputs:
        raise EnrichmentError(f"{enrichment.kind} needs outputs: name and type")
    return tuple(name for name, _ in enrichment.outputs)


def _uncounted(function: Callable[[pl.DataFrame], pl.DataFrame]) -> Step:
    return lambda frame: Given(function(frame))


def _import(function: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    module, _, name = function.partition(":")
    found: Callable[[pl.DataFrame], pl.DataFrame] = getattr(importlib.import_module(module), name)
    if not callable(found):
        raise EnrichmentError(f"{function} is not a function")
    return found


def _build_expression(enrichment: Enrichment, output: str) -> tuple[Step, Sequence[str]]:
    sql = enrichment.options.get("sql")
    if not isinstance(sql, str):
        raise EnrichmentError(f"{enrichment.kind} needs `sql`, an expression over the columns before it")
    expression = pl.sql_expr(sql).alias(output)
    # A constant has no column of its own to tell how many rows there are.
    inputs = list(dict.fromkeys(expression.meta.root_names())) or ["_op"]
    return _uncounted(lambda frame: frame.with_columns(expression)), inputs


def _build_mask(enrichment: Enrichment, around: Surroundings) -> Step:
    from fastetl.enrich.mask import build_mask  # noqa: PLC0415 - each kind is imported by those who use it

    for output in _outputs(enrichment):
        if output in around.untouchable:
            raise EnrichmentError(f"{output} is of the key, which stands in `_key` in clear as well")
        if output not in around.types:
            raise EnrichmentError(f"no column {output!r} is there to be masked")
    return _uncounted(build_mask(enrichment, around.environ))


def _build_geoip(enrichment: Enrichment, around: Surroundings) -> Step:
    from fastetl.enrich.geoip import GeoIp  # noqa: PLC0415 - brings in maxminddb

    if len(enrichment.inputs) != 1 or around.types.get(enrichment.inputs[0], _TEXT).kind not in {"CHAR", "VARCHAR"}:
        raise EnrichmentError("geoip needs one input, the column of text that holds the addresses")
    paths = _named(enrichment, "paths")
    if missing := [name for name in _outputs(enrichment) if name not in paths]:
        raise EnrichmentError(f"geoip needs `paths.{missing[0]}`: where in a record it stands, as `country.iso_code`")
    ordered = [paths[name] for name in _outputs(enrichment)]
    geoip = GeoIp(_source(enrichment, around), enrichment.outputs, ordered, around.null_marker)

    def locate(frame: pl.DataFrame) -> Given:
        return Given(*geoip.locate(frame[enrichment.inputs[0]]), written=True)

    return locate


def _build_lookup(enrichment: Enrichment, around: Surroundings) -> Step:
    from fastetl.enrich.lookup import Lookup  # noqa: PLC0415 - as above

    if unknown := [name for name in enrichment.inputs if name not in around.types]:
        raise EnrichmentError(f"no column {unknown[0]!r} is there before this enrichment")
    on = enrichment.options.get("on", list(enrichment.inputs))
    if not enrichment.inputs or not isinstance(on, list) or len(on) != len(enrichment.inputs):
        raise EnrichmentError("lookup needs inputs, and `on` with a column of the table for each of them")
    columns = _named(enrichment, "columns")
    keys = [(name, around.types[name], str(theirs)) for name, theirs in zip(enrichment.inputs, on, strict=True)]
    values = [
        (name, kind, columns.get(name, name))
        for name, kind in zip(_outputs(enrichment), dict(enrichment.outputs).values(), strict=True)
    ]
    lookup = Lookup(_source(enrichment, around), keys, values, around.null_marker)
    return lambda frame: Given(*lookup.find(frame), written=True)


_TEXT = RedshiftType("VARCHAR", length=1)


def _named(enrichment: Enrichment, option: str) -> dict[str, str]:
    """Take an option that has a text for every output it names."""
    named = enrichment.options.get(option, {})
    outputs = _outputs(enrichment)
    if not isinstance(named, dict) or any(
        name not in outputs or not isinstance(text, str) for name, text in named.items()
    ):
        raise EnrichmentError(f"`{option}` is a table from outputs to texts")
    return named


def _source(enrichment: Enrichment, around: Surroundings) -> Path:
    source = enrichment.options.get("source")
    if not isinstance(source, str):
        raise EnrichmentError(f"{enrichment.kind} needs `source`: s3://bucket/key, or a path in the function's folder")
    if source not in around.references:
        raise EnrichmentError(f"{source} is not there")
    return around.references[source]
