"""Enrichment: columns are added, masked or worked out, and rows filtered, in the configured order. Pure.

An enrichment sees its declared inputs only, as numbers, times and texts rather than as CSV, and gives its declared
outputs, row by row. It cannot add or reorder rows, nor change keys, versions or columns that it does not declare:
whatever it does, the mirror stays exact. A row for which it has no value becomes what `on_error` says, and no other row
notices.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from fastetl.columns import SYSTEM_COLUMNS, RedshiftType
from fastetl.config import ELEMENT_COLUMNS
from fastetl.enrich.stage import RAISED, Stage, StageResult, describe
from fastetl.enrich.steps import KEEPS, StepContext
from fastetl.errors import ConfigError, EnrichmentError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fastetl.config import Pipeline
    from fastetl.enrich.stage import FailedRow


class RejectedRow(msgspec.Struct, frozen=True):
    """A row that an enrichment has no value for, and that is not written."""

    row: int
    """Its place in the frame that was enriched."""
    column: str
    reason: str
    detail: str


class Enriched(msgspec.Struct, frozen=True):
    """A frame with what was added, and what happened."""

    frame: pl.DataFrame
    """The rows to write, in their order."""
    counts: dict[str, int] = {}
    """Counts by enrichment and event: `0/filter/filtered`, `1/geoip/unknown`."""
    rejected: tuple[RejectedRow, ...] = ()
    """The rows that are not in the frame."""
    misfits: dict[tuple[str, str], int] = {}
    """Values that became NULL, by column and reason."""
    errors: dict[str, int] = {}
    """What steps raised and where, and for how many rows; without item content."""
    ignored: dict[str, int] = {}
    """Undeclared attributes of the elements of child tables, by the child's name and the attribute's; less than none of
    those that decoding has ignored and that are kept after all."""
    unrouted: dict[str, int] = {}
    """Items that no target takes, by what tells their kind: `type=invoice`, `pk=INVOICE#`."""
    sources: pl.Series | None = None
    """Which row of the frame that was enriched each row is made of; None where rows were left out at most."""


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
        """Make a pipeline's enrichments ready.

        Args:
            pipeline: its columns and enrichments.
            environ: environment variables by name, for the keys of masks.
            references: the files that enrichments read, by the name that the configuration has for each.

        Raises:
            ConfigError: enrichments that cannot work, with their places.
        """
        self._pipeline = pipeline
        self._environ = environ or {}
        keys = {column.name for column in pipeline.columns if column.path[0] in pipeline.keys}
        self._kept_when_filtered = frozenset({name for name, _ in SYSTEM_COLUMNS} | keys)
        self._stages: list[Stage] = []
        self.open(references or {})

    def open(self, references: Mapping[str, Path]) -> None:
        """Make every enrichment ready, its reference file read; what was ready before stays if one is not.

        Args:
            references: the files that enrichments read, by the name that the configuration has for each.

        Raises:
            ConfigError: enrichments that cannot work, with their places.
        """
        pipeline, stages = self._pipeline, []
        problems: list[Problem] = []
        types = dict(SYSTEM_COLUMNS) | {column.name: column.type for column in pipeline.columns}
        if pipeline.rows_of:
            types |= dict(ELEMENT_COLUMNS)
        if pipeline.undeclared == "extra":
            types[pipeline.extra_column] = RedshiftType("SUPER")
        for number, enrichment in enumerate(pipeline.enrichments):
            context = StepContext(
                dict(types), self._kept_when_filtered, pipeline.file.null_marker, self._environ, references
            )
            try:
                stages.append(Stage(f"{number}/{enrichment.kind}", enrichment, context))
            except RAISED as error:  # importing a user's module may raise anything
                problems.append(Problem(self._place(number), describe(error), "Correct it, or take it out"))
            types |= dict(enrichment.outputs)
        if problems:
            raise ConfigError(tuple(problems))
        self._stages = stages

    @property
    def is_idle(self) -> bool:
        """Whether there is no enrichment, so that a frame stays as it is."""
        return not self._pipeline.enrichments

    def try_out(self) -> tuple[Problem, ...]:
        """Run every enrichment on made-up values, and tell which of them fail or are not row-wise."""
        return tuple(
            Problem(self._place(number), message, "Let it take every value of its inputs' types, NULL among them")
            for number, stage in enumerate(self._stages)
            for message in stage.try_out()
        )

    def apply(self, frame: pl.DataFrame, write_records: object = None) -> Enriched:  # noqa: ARG002 - for Router alone
        """Run every enrichment.

        Args:
            frame: a row for each change, every column as text.
            write_records: of no use here.

        Returns:
            The frame with the outputs, and the rows that an enrichment rejected.

        Raises:
            EnrichmentError: a step is broken, or fails on a row and its `on_error` is `fail`.
        """
        if not self._stages:
            return Enriched(frame)
        work = _Work(frame)
        for stage in self._stages:
            self._run(stage, work)
        misfits = dict(work.misfits)
        return Enriched(work.frame, dict(work.counts), tuple(work.rejected), misfits, dict(work.errors))

    def _place(self, number: int) -> str:
        return f"pipelines.{self._pipeline.name}.enrichments[{number}]"

    def _run(self, stage: Stage, work: _Work) -> None:
        try:
            result = stage.run(work.frame)
        except EnrichmentError as error:
            if stage.enrichment.on_error != "null":
                raise
            result = stage.fail_whole(work.frame.height, error)
        work.counts.update({f"{stage.name}/{event}": count for event, count in result.counts.items()})
        work.errors.update(failed.detail for failed in result.failed.values() if failed.is_whole)
        rejects = self._settle(stage, result, work)
        outputs = result.frame
        if rejects:
            keeps = pl.Series(values=[row not in rejects for row in range(outputs.height)], dtype=pl.Boolean)
            outputs = outputs.filter(keeps)
            work.reject(rejects, keeps)
        if stage.is_filter:
            work.frame = self._filter(stage, work, outputs[KEEPS])
        else:
            work.frame = work.frame.with_columns(outputs[name] for name in stage.outputs)

    def _settle(self, stage: Stage, result: StageResult, work: _Work) -> dict[int, FailedRow]:
        """Do with the failed rows what `on_error` says; give those that are to be rejected."""
        if not result.failed:
            return {}
        # A deletion reaches the mirror, whatever the values of the deleted item do to an enrichment.
        is_delete = work.frame["_deleted"] == "true"
        alive = {row: failed for row, failed in result.failed.items() if not is_delete[row]}
        policy = stage.enrichment.on_error
        if policy == "fail" and alive:
            first = next(iter(alive.values()))
            raise EnrichmentError(f"{len(alive)} rows have no value: {first.reason}; {first.detail}")
        for row, failed in result.failed.items():
            if policy == "null" or row not in alive:
                columns = stage.outputs if failed.is_whole and stage.outputs else [failed.column]
                work.misfits.update((column, failed.reason) for column in columns)
        return alive if policy == "reject" else {}

    def _filter(self, stage: Stage, work: _Work, keeps: pl.Series) -> pl.DataFrame:
        """Turn the rows that are not kept into tombstones: an item that ceases to match leaves the mirror."""
        frame = work.frame
        is_alive = frame["_deleted"] == "false"
        goes = ~keeps.fill_null(value=False)
        if not self._pipeline.keeps_old_images:
            # Nothing tells what a deleted item held, so that no condition can be asked of it.
            goes &= is_alive
        if not goes.any():
            return frame
        if filtered := int((goes & is_alive).sum()):
            work.counts[f"{stage.name}/filtered"] = filtered
        emptied = [name for name in frame.columns if name not in self._kept_when_filtered]
        return frame.with_columns(
            pl.when(goes).then(pl.lit("true")).otherwise(pl.col("_deleted")).alias("_deleted"),
            pl.when(goes).then(pl.lit("LEAVE")).otherwise(pl.col("_op")).alias("_op"),
            *(pl.when(goes).then(None).otherwise(pl.col(name)).alias(name) for name in emptied),
        )


class _Work:
    """A frame on its way through the enrichments, and what happened so far."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self.counts: Counter[str] = Counter()
        self.misfits: Counter[tuple[str, str]] = Counter()
        self.errors: Counter[str] = Counter()
        self.rejected: list[RejectedRow] = []
        self._rows = pl.int_range(frame.height, dtype=pl.UInt32, eager=True)
        """Where each row was at first."""

    def reject(self, rejects: Mapping[int, FailedRow], keeps: pl.Series) -> None:
        """Take rows out."""
        for row, failed in sorted(rejects.items()):
            self.rejected.append(RejectedRow(self._rows[row], failed.column, failed.reason, failed.detail))
        self.frame, self._rows = self.frame.filter(keeps), self._rows.filter(keeps)
