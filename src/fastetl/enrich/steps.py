"""Build each kind of enrichment, from what the configuration says, as a function from frame to frame. Pure."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import msgspec
import polars as pl

from fastetl.columns import RedshiftType, build_expression
from fastetl.config import Expression, Filter, Function, GeoIp, Lookup, Mask
from fastetl.errors import EnrichmentError

if TYPE_CHECKING:
    from fastetl.config import Enrichment

KEEPS = "keeps"
"""The column in which a filter says which rows it keeps."""


class StepResult(msgspec.Struct, frozen=True):
    """What a step gives for a frame."""

    frame: pl.DataFrame
    """It has the outputs, or for a filter `KEEPS`; other columns are not looked at."""
    counts: dict[str, int] = {}
    """What happened, by event."""
    is_written: bool = False
    """The outputs are text for COPY already."""
    unfit: Sequence[tuple[int, str, str]] = ()
    """Row, output and reason of every value that its column cannot hold and that became NULL, where `is_written`."""


Step = Callable[[pl.DataFrame], StepResult]
"""Takes a frame of the inputs, and gives what an enrichment makes of them."""


class StepContext(msgspec.Struct, frozen=True):
    """What a step is built from, beside its own settings."""

    types: Mapping[str, RedshiftType]
    """The columns that are there before it."""
    untouchable: frozenset[str]
    """Columns that no enrichment may change."""
    null_marker: str
    environ: Mapping[str, str]
    references: Mapping[str, Path]
    """Where the files lie that the configuration names as `source`."""


def build_step(enrichment: Enrichment, context: StepContext) -> tuple[Step, Sequence[str]]:
    """Build what an enrichment does, and name the columns that it reads.

    Raises:
        EnrichmentError: it cannot work as it is configured.
    """
    outputs = [name for name, _ in enrichment.outputs]
    match enrichment.options:
        case Function(function):
            return _uncounted(_import(function)), enrichment.inputs
        case Expression(sql):
            return _build_expression(sql, outputs[0])
        case Filter(sql):
            return _build_expression(sql, KEEPS)
        case Mask() as options:
            return _build_mask(options, outputs, context), outputs
        case GeoIp() as options:
            return _build_geoip(options, enrichment, context), enrichment.inputs
        case Lookup() as options:
            return _build_lookup(options, enrichment, context), enrichment.inputs
        case never:
            assert_never(never)


def _uncounted(function: Callable[[pl.DataFrame], pl.DataFrame]) -> Step:
    return lambda frame: StepResult(function(frame))


def _import(function: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    module, _, name = function.partition(":")
    found: Callable[[pl.DataFrame], pl.DataFrame] = getattr(importlib.import_module(module), name)
    if not callable(found):
        raise EnrichmentError(f"{function} is not a function")
    return found


def _build_expression(sql: str, output: str) -> tuple[Step, Sequence[str]]:
    step, inputs = build_expression(sql, output)
    # A constant has no column of its own to tell how many rows there are.
    return _uncounted(step), inputs or ["_op"]


def _build_mask(options: Mask, outputs: Sequence[str], context: StepContext) -> Step:
    from fastetl.enrich.mask import build_mask  # noqa: PLC0415 - each kind is imported by those who use it

    for output in outputs:
        if output in context.untouchable:
            raise EnrichmentError(f"{output} is of the key, which stands in `_key` in clear as well")
        if output not in context.types:
            raise EnrichmentError(f"no column {output!r} is there to be masked")
    return _uncounted(build_mask(options, context.environ))


def _build_geoip(options: GeoIp, enrichment: Enrichment, context: StepContext) -> Step:
    from fastetl.enrich.geoip import GeoIpDatabase  # noqa: PLC0415 - brings in maxminddb

    (column,) = enrichment.inputs
    if column in context.types and not context.types[column].rule.is_text:
        raise EnrichmentError(f"{column} {context.types[column]}: geoip reads addresses from a column of text")
    paths = [options.paths[name] for name, _ in enrichment.outputs]
    database = GeoIpDatabase(_find(options.source, context), enrichment.outputs, paths, context.null_marker)
    return lambda frame: database.locate(frame[column])


def _build_lookup(options: Lookup, enrichment: Enrichment, context: StepContext) -> Step:
    from fastetl.enrich.lookup import LookupTable  # noqa: PLC0415 - as above

    if unknown := [name for name in enrichment.inputs if name not in context.types]:
        raise EnrichmentError(f"no column {unknown[0]!r} is there before this enrichment")
    theirs = options.on or enrichment.inputs
    keys = [(name, context.types[name], key) for name, key in zip(enrichment.inputs, theirs, strict=True)]
    values = [(name, kind, options.columns.get(name, name)) for name, kind in enrichment.outputs]
    table = LookupTable(_find(options.source, context), keys, values, context.null_marker)

    def find(frame: pl.DataFrame) -> StepResult:
        values, counts = table.find(frame)
        return StepResult(values, counts, is_written=True)

    return find


def _find(source: str, context: StepContext) -> Path:
    if source not in context.references:
        raise EnrichmentError(f"{source} is not there; put it there, or name another source")
    return context.references[source]
