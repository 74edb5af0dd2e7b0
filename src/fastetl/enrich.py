"""Enrichment: columns are added, masked or worked out, and rows filtered, in the configured order. Pure.

An enrichment sees its declared inputs only, as numbers, times and texts rather than as CSV, and gives its declared
outputs, row by row. It cannot add, drop or reorder rows, nor touch keys, versions or columns that are not its own:
whatever it does, the mirror stays exact.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from fastetl.columns import SYSTEM_COLUMNS, RedshiftType
from fastetl.dtypes import natural_dtype, read_column, write_column
from fastetl.errors import ConfigError, EnrichmentError, Problem
from fastetl.mask import build_mask

if TYPE_CHECKING:
    from fastetl.config import Enrichment, Pipeline

Step = Callable[[pl.DataFrame], pl.DataFrame]
"""From a frame of the inputs to a frame that has the outputs; a filter gives one truth value per row instead."""

KEEPS = "keeps"
"""The column in which a filter says which rows it keeps."""


class Enriched(msgspec.Struct, frozen=True):
    """A frame with what was added, and what happened."""

    frame: pl.DataFrame
    counts: dict[str, int]
    """By enrichment and event: `2/expression/unfit`, `0/filter/filtered`, `1/function/failed`."""


class Enricher:
    """All enrichments of one pipeline. `environ` is where secrets are named."""

    def __init__(self, pipeline: Pipeline, environ: Mapping[str, str] | None = None) -> None:
        self._null_marker = pipeline.file.null_marker
        self._kept_when_filtered = {name for name, _ in SYSTEM_COLUMNS}
        self._kept_when_filtered |= {column.name for column in pipeline.columns if column.path[0] in pipeline.keys}
        self._stages: list[_Stage] = []
        problems: list[Problem] = []
        types = dict(SYSTEM_COLUMNS) | {column.name: column.type for column in pipeline.columns}
        for number, enrichment in enumerate(pipeline.enrichments):
            place = f"pipelines.{pipeline.name}.enrichments[{number}]"
            try:
                self._stages.append(_Stage(f"{number}/{enrichment.kind}", enrichment, types, pipeline, environ or {}))
            except (EnrichmentError, ImportError, AttributeError, TypeError, pl.exceptions.PolarsError) as error:
                problems.append(Problem(place, str(error).splitlines()[0], "Mend it, or take the enrichment out"))
            types |= dict(enrichment.outputs)
        if problems:
            raise ConfigError(tuple(problems))

    def apply(self, frame: pl.DataFrame) -> Enriched:
        """Run every enrichment.

        Raises:
            EnrichmentError: one failed, and its `on_error` is `fail`.
        """
        counts: dict[str, int] = {}
        for stage in self._stages:
            frame = self._run(stage, frame, counts)
        return Enriched(frame, counts)

    def _run(self, stage: _Stage, frame: pl.DataFrame, counts: dict[str, int]) -> pl.DataFrame:
        try:
            given = stage.run(frame)
        except Exception as error:  # the user's code may raise anything
            if stage.enrichment.on_error == "fail":
                raise EnrichmentError(f"enrichment {stage.name}: {type(error).__name__}") from error
            counts[f"{stage.name}/failed"] = frame.height
            empty = [pl.Series(name, [None] * frame.height, dtype=pl.String) for name, _ in stage.enrichment.outputs]
            return frame.with_columns(empty)
        if stage.enrichment.kind == "filter":
            return self._filter(stage, frame, given[KEEPS], counts)
        columns = []
        for name, kind in stage.enrichment.outputs:
            text, unfit = write_column(given[name], kind, self._null_marker)
            if unfit and stage.enrichment.on_error == "fail":
                raise EnrichmentError(f"enrichment {stage.name}: {unfit} values do not fit {name} {kind}")
            if unfit:
                counts[f"{stage.name}/unfit"] = counts.get(f"{stage.name}/unfit", 0) + unfit
            columns.append(text)
        return frame.with_columns(columns)

    def _filter(self, stage: _Stage, frame: pl.DataFrame, keeps: pl.Series, counts: dict[str, int]) -> pl.DataFrame:
        """Turn the rows that are not kept into tombstones: an item that ceases to match leaves the mirror."""
        goes = (~keeps.fill_null(value=False)) & (frame["_deleted"] == "false")
        if not goes.any():
            return frame
        counts[f"{stage.name}/filtered"] = int(goes.sum())
        emptied = [name for name in frame.columns if name not in self._kept_when_filtered]
        return frame.with_columns(
            pl.when(goes).then(pl.lit("true")).otherwise(pl.col("_deleted")).alias("_deleted"),
            *(pl.when(goes).then(None).otherwise(pl.col(name)).alias(name) for name in emptied),
        )


class _Stage:
    """One enrichment, ready to run; building it finds out whether it can."""

    def __init__(
        self,
        name: str,
        enrichment: Enrichment,
        types: Mapping[str, RedshiftType],
        pipeline: Pipeline,
        environ: Mapping[str, str],
    ) -> None:
        self.name = name
        self.enrichment = enrichment
        self._step, inputs = _build_step(enrichment, types, pipeline, environ)
        if unknown := [column for column in inputs if column not in types]:
            raise EnrichmentError(f"no column {unknown[0]!r} is there before this enrichment")
        self._inputs = [read_column(column, types[column]).alias(column) for column in inputs]
        if taken := {column for column, _ in enrichment.outputs} & {column for column, _ in SYSTEM_COLUMNS}:
            raise EnrichmentError(f"{', '.join(sorted(taken))} cannot be an output; it belongs to fastetl")
        nothing = pl.DataFrame(schema={column: natural_dtype(types[column]) for column in inputs})
        if enrichment.kind != "function":
            self._check(self._step(nothing), 0)

    def run(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Give the outputs for a frame of text."""
        return self._check(self._step(frame.select(self._inputs)), frame.height)

    def _check(self, given: pl.DataFrame, height: int) -> pl.DataFrame:
        expected = [KEEPS] if self.enrichment.kind == "filter" else [name for name, _ in self.enrichment.outputs]
        if not isinstance(given, pl.DataFrame) or given.height != height:
            raise EnrichmentError(f"enrichment {self.name}: give a DataFrame with a row for each row, in their order")
        if missing := [name for name in expected if name not in given.columns]:
            raise EnrichmentError(f"enrichment {self.name}: it gave no column {', '.join(missing)}")
        return given


def _build_step(
    enrichment: Enrichment, types: Mapping[str, RedshiftType], pipeline: Pipeline, environ: Mapping[str, str]
) -> tuple[Step, Sequence[str]]:
    """Build what an enrichment does, and name the columns that it reads."""
    match enrichment.kind:
        case "function":
            return _import(enrichment.function), enrichment.inputs
        case "expression":
            (output,) = _outputs(enrichment, 1)
            return _build_expression(enrichment, output)
        case "filter":
            return _build_expression(enrichment, KEEPS)
        case "mask":
            for output in _outputs(enrichment):
                if output in {column.name for column in pipeline.columns if column.path[0] in pipeline.keys}:
                    raise EnrichmentError(f"{output} is of the key, which stands in `_key` in clear as well")
                if output not in types:
                    raise EnrichmentError(f"no column {output!r} is there to be masked")
            return build_mask(enrichment, environ), _outputs(enrichment)
    raise EnrichmentError(f"{enrichment.kind!r} is not an enrichment of this version")


def _outputs(enrichment: Enrichment, count: int | None = None) -> tuple[str, ...]:
    names = tuple(name for name, _ in enrichment.outputs)
    if not names or (count is not None and len(names) != count):
        raise EnrichmentError(f"{enrichment.kind} needs {'one output' if count else 'outputs'}: name and type")
    return names


def _import(function: str) -> Step:
    module, _, name = function.partition(":")
    found: Step = getattr(importlib.import_module(module), name)
    if not callable(found):
        raise EnrichmentError(f"{function} is not a function")
    return found


def _build_expression(enrichment: Enrichment, output: str) -> tuple[Step, Sequence[str]]:
    sql = enrichment.options.get("sql")
    if not isinstance(sql, str):
        raise EnrichmentError(f"{enrichment.kind} needs `sql`, an expression over the columns before it")
    expression = pl.sql_expr(sql).alias(output)
    # A constant has no column of its own to tell how many rows there are.
    return lambda frame: frame.with_columns(expression), list(dict.fromkeys(expression.meta.root_names())) or ["_op"]
