"""Enrichment: columns are added, masked or worked out, and rows filtered, in the configured order. Pure.

An enrichment sees its declared inputs only, as numbers, times and texts rather than as CSV, and gives its declared
outputs, row by row. It cannot add, drop or reorder rows, nor touch keys, versions or columns that are not its own:
whatever it does, the mirror stays exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import polars as pl

from fastetl.columns import SYSTEM_COLUMNS, natural_dtype, read_column, write_column
from fastetl.enrich.steps import KEEPS, StepContext, StepResult, build_step
from fastetl.errors import ConfigError, EnrichmentError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fastetl.config import Enrichment, Pipeline


class Enriched(msgspec.Struct, frozen=True):
    """A frame with what was added, and what happened."""

    frame: pl.DataFrame
    counts: dict[str, int]
    """By enrichment and event: `2/expression/unfit`, `0/filter/filtered`, `1/function/failed`."""


class Enricher:
    """All enrichments of one pipeline.

    `environ` is where secrets are named; `references` tells where the files that the configuration names as `source`
    lie on this machine.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        environ: Mapping[str, str] | None = None,
        references: Mapping[str, Path] | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._environ = environ or {}
        keys = {column.name for column in pipeline.columns if column.path[0] in pipeline.keys}
        self._kept_when_filtered = frozenset({name for name, _ in SYSTEM_COLUMNS} | keys)
        self._stages: list[_Stage] = []
        self.open(references or {})

    def open(self, references: Mapping[str, Path]) -> None:
        """Make every enrichment ready, its reference file read; what was ready before stays if one is not.

        Raises:
            ConfigError: enrichments that cannot work, with their places.
        """
        pipeline, stages = self._pipeline, []
        problems: list[Problem] = []
        types = dict(SYSTEM_COLUMNS) | {column.name: column.type for column in pipeline.columns}
        for number, enrichment in enumerate(pipeline.enrichments):
            place = f"pipelines.{pipeline.name}.enrichments[{number}]"
            context = StepContext(
                dict(types), self._kept_when_filtered, pipeline.file.null_marker, self._environ, references
            )
            try:
                stages.append(_Stage(f"{number}/{enrichment.kind}", enrichment, context))
            except (EnrichmentError, ImportError, AttributeError, TypeError, pl.exceptions.PolarsError) as error:
                problems.append(Problem(place, str(error).splitlines()[0], "Mend it, or take the enrichment out"))
            types |= dict(enrichment.outputs)
        if problems:
            raise ConfigError(tuple(problems))
        self._stages = stages

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
        fails = stage.enrichment.on_error == "fail"
        try:
            result = stage.run(frame)
        except Exception as error:  # the user's code may raise anything
            if fails:
                raise EnrichmentError(f"enrichment {stage.name}: {type(error).__name__}") from error
            counts[f"{stage.name}/failed"] = frame.height
            empty = [pl.Series(name, [None] * frame.height, dtype=pl.String) for name, _ in stage.enrichment.outputs]
            return frame.with_columns(empty)
        if fails and (unfit := result.counts.get("unfit")):
            columns = ", ".join(f"{name} {kind}" for name, kind in stage.enrichment.outputs)
            raise EnrichmentError(f"enrichment {stage.name}: {unfit} values do not fit {columns}")
        counts.update({f"{stage.name}/{event}": count for event, count in result.counts.items()})
        if stage.enrichment.kind == "filter":
            return self._filter(stage, frame, result.frame[KEEPS], counts)
        return frame.with_columns(result.frame[name] for name, _ in stage.enrichment.outputs)

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

    def __init__(self, name: str, enrichment: Enrichment, context: StepContext) -> None:
        self.name = name
        self.enrichment = enrichment
        self._null_marker = context.null_marker
        types = context.types
        self._step, inputs = build_step(enrichment, context)
        if unknown := [column for column in inputs if column not in types]:
            raise EnrichmentError(f"no column {unknown[0]!r} is there before this enrichment")
        self._inputs = [read_column(column, types[column]).alias(column) for column in inputs]
        if taken := {column for column, _ in enrichment.outputs} & context.untouchable:
            raise EnrichmentError(
                f"{', '.join(sorted(taken))} cannot be an output; keys and `_` columns stay as they are"
            )
        nothing = pl.DataFrame(schema={column: natural_dtype(types[column]) for column in inputs})
        if enrichment.kind != "function":
            self._write(self._step(nothing), 0)

    def run(self, frame: pl.DataFrame) -> StepResult:
        """Give the outputs for a frame of text, as text."""
        return self._write(self._step(frame.select(self._inputs)), frame.height)

    def _write(self, result: StepResult, height: int) -> StepResult:
        is_filter = self.enrichment.kind == "filter"
        expected = [KEEPS] if is_filter else [name for name, _ in self.enrichment.outputs]
        frame = result.frame
        if not isinstance(frame, pl.DataFrame) or frame.height != height:
            raise EnrichmentError(f"enrichment {self.name}: give a DataFrame with a row for each row, in their order")
        if missing := [name for name in expected if name not in frame.columns]:
            raise EnrichmentError(f"enrichment {self.name}: it gave no column {', '.join(missing)}")
        if is_filter and frame[KEEPS].dtype != pl.Boolean:
            raise EnrichmentError("a filter is a condition: true for the rows to keep")
        if is_filter or result.written:
            return result
        written = [write_column(frame[name], kind, self._null_marker) for name, kind in self.enrichment.outputs]
        unfit = sum(unfit for _, unfit in written)
        counts = result.counts | ({"unfit": unfit} if unfit else {})
        return StepResult(pl.DataFrame([text for text, _ in written]), counts, written=True)
