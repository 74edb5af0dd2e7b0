"""Run one enrichment on a batch, and where it fails on ever smaller parts, until the failing rows are found.

The parts are halves, so that a batch of n rows is gone through in at most 2 n - 1 runs, and with one failing row in
about 2 log2 n. Functions have to be row-wise: a row's outputs depend on its own inputs alone.
"""

from __future__ import annotations

import inspect
import random
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from fastetl.columns import Column, build_converter, make_example, natural_dtype, only, read_column, write_column
from fastetl.config import Filter, Function
from fastetl.enrich.steps import KEEPS, StepContext, StepResult, build_step
from fastetl.errors import EnrichmentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastetl.config import Enrichment

FAILED = "enrichment"
"""The reason of rows on which a step raised."""

MADE_UP_ROWS = 8
"""Rows of made-up values, beside one of NULLs."""

SAMPLED_ROWS = 16
"""Rows of a batch that are tried when a step fails on made-up values as well: if it fails on all, it is broken."""


RAISED = (Exception, SystemExit, pl.exceptions.PanicException)
"""What a step may raise. Polars panics on some values, some code exits, and neither is an `Exception`."""


class FailedRow(msgspec.Struct, frozen=True):
    """A row for which an enrichment has no value, and why; without item content."""

    column: str
    """The output that has no value; empty for a filter."""
    reason: str
    """`FAILED`, or why a value does not fit its column (see `UnfitError`)."""
    detail: str
    is_whole: bool = False
    """Whether the row has none of the outputs."""


class StageResult(msgspec.Struct, frozen=True):
    """What one enrichment gives for a batch."""

    frame: pl.DataFrame
    """The outputs as text for COPY, or for a filter `KEEPS`; NULL where there is no value."""
    failed: dict[int, FailedRow]
    """Why a row failed, by its position."""
    counts: dict[str, int]
    """What happened, by event."""


class Stage:
    """One enrichment, ready to run; building it finds out whether it can.

    Raises:
        EnrichmentError: it cannot work as it is configured, or its type cannot fit its column.
    """

    def __init__(self, name: str, enrichment: Enrichment, context: StepContext) -> None:
        self.name = name
        self.enrichment = enrichment
        self.is_filter = isinstance(enrichment.options, Filter)
        self.outputs = [] if self.is_filter else [column for column, _ in enrichment.outputs]
        self._null_marker = context.null_marker
        self._step, inputs = build_step(enrichment, context)
        if unknown := [column for column in inputs if column not in context.types]:
            raise EnrichmentError(f"no column {unknown[0]!r} is there before this enrichment")
        if taken := set(self.outputs) & context.untouchable:
            raise EnrichmentError(
                f"{', '.join(sorted(taken))} cannot be an output; keys and `_` columns stay as they are"
            )
        self._types = {column: context.types[column] for column in inputs}
        self._inputs = [read_column(column, kind).alias(column) for column, kind in self._types.items()]
        self._source = _find_source(enrichment)
        if not isinstance(enrichment.options, Function):
            self._attempt(pl.DataFrame(schema={column: natural_dtype(kind) for column, kind in self._types.items()}))

    def run(self, frame: pl.DataFrame) -> StageResult:
        """Give the outputs for a frame of text.

        Raises:
            EnrichmentError: the step is broken: it fails on made-up values too, and on every row that was tried.
        """
        if frame.is_empty():
            return StageResult(self._make_empty(0), {}, {})
        try:
            return self._attempt(frame.select(self._inputs))
        except RAISED as error:
            if self._is_broken(frame):
                raise EnrichmentError(f"enrichment {self.name}: {self.describe(error)}") from error
        halves = frame.height // 2
        parts = [*self._search(frame[:halves]), *self._search(frame[halves:])]
        return _join(parts)

    def fail_whole(self, height: int, error: EnrichmentError) -> StageResult:
        """Give a result without any value, for a step that is broken."""
        failed = FailedRow(self.outputs[0] if self.outputs else "", FAILED, str(error), is_whole=True)
        return StageResult(self._make_empty(height), dict.fromkeys(range(height), failed), {})

    def try_out(self) -> Iterator[str]:
        """Tell what is wrong with the step, as far as made-up values show."""
        made_up = self._make_up()
        try:
            whole, again = self._attempt(made_up.select(self._inputs)), self._attempt(made_up.select(self._inputs))
            alone = _join([self._attempt(row.select(self._inputs)) for row in made_up.iter_slices(1)])
        except RAISED as error:
            yield f"fails on made-up values of its inputs' types: {self.describe(error)}"
            return
        if whole.frame.equals(again.frame) and not whole.frame.equals(alone.frame):
            yield "gives other values for a row alone than for the same row among others: it has to be row-wise"

    def describe(self, error: BaseException) -> str:
        """Say what was raised, and at which line of whose code; a message of another's may quote an item."""
        if isinstance(error, EnrichmentError):
            return str(error)
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [each for each in frames if self._source and Path(each.filename) == self._source]
        where = f" at {theirs[-1].filename}:{theirs[-1].lineno} in {theirs[-1].name}" if theirs else ""
        return f"{type(error).__name__}{where}"

    def _search(self, frame: pl.DataFrame) -> Iterator[StageResult]:
        """Give the results of a frame's parts, in order; a part that fails is halved down to the failing row."""
        if frame.is_empty():
            return
        try:
            yield self._attempt(frame.select(self._inputs))
        except RAISED as error:
            if frame.height == 1:
                yield StageResult(self._make_empty(1), {0: self._fail(self.describe(error))}, {})
                return
            half = frame.height // 2
            yield from self._search(frame[:half])
            yield from self._search(frame[half:])

    def _is_broken(self, frame: pl.DataFrame) -> bool:
        """Tell a fault of the code from one of the data: whether made-up values fail, and every row of a sample."""
        if self._works(self._make_up()):
            return False
        has_values = frame.select(pl.any_horizontal(pl.col(name).is_not_null() for name in self._types)).to_series()
        rows = has_values.arg_true().to_list() or list(range(frame.height))
        sample = rows[:: max(1, len(rows) // SAMPLED_ROWS)]
        return not any(self._works(frame[row : row + 1]) for row in sample)

    def _works(self, frame: pl.DataFrame) -> bool:
        try:
            self._attempt(frame.select(self._inputs))
        except RAISED:
            return False
        return True

    def _attempt(self, inputs: pl.DataFrame) -> StageResult:
        """Run the step on a frame of its inputs, and see that it gives what it has to.

        Raises:
            EnrichmentError: it does not.
            Exception: whatever the step raises.
        """
        result: StepResult = self._step(inputs)
        expected = [KEEPS] if self.is_filter else self.outputs
        frame = result.frame
        if not isinstance(frame, pl.DataFrame) or frame.height != inputs.height:
            raise EnrichmentError("it has to give a DataFrame with a row for each row, in their order")
        if missing := [name for name in expected if name not in frame.columns]:
            raise EnrichmentError(f"it gave no column {', '.join(missing)}")
        if self.is_filter:
            if frame[KEEPS].dtype not in {pl.Boolean, pl.Null}:
                raise EnrichmentError("a filter is a condition: true for the rows to keep")
            return StageResult(frame.select(pl.col(KEEPS).cast(pl.Boolean)), {}, result.counts)
        failed = {row: self._refuse(column, reason) for row, column, reason in result.unfit}
        if result.is_written:
            return StageResult(frame.select(self.outputs), failed, result.counts)
        texts: list[pl.Series] = []
        for name, kind in self.enrichment.outputs:
            written, unfit = write_column(frame[name], kind, self._null_marker)
            texts.append(written)
            failed |= {row: self._refuse(name, reason) for row, reason in unfit.items() if row not in failed}
        return StageResult(pl.DataFrame(texts), failed, result.counts)

    def _refuse(self, column: str, reason: str) -> FailedRow:
        kind = dict(self.enrichment.outputs)[column]
        return FailedRow(column, reason, f"enrichment {self.name}: a value that fits {kind}")

    def _fail(self, detail: str) -> FailedRow:
        column = self.outputs[0] if self.outputs else ""
        return FailedRow(column, FAILED, f"enrichment {self.name}: {detail}", is_whole=True)

    def _make_empty(self, height: int) -> pl.DataFrame:
        dtype = pl.Boolean if self.is_filter else pl.String
        names = [KEEPS] if self.is_filter else self.outputs
        return pl.DataFrame({name: [None] * height for name in names}, schema=dict.fromkeys(names, dtype))

    def _make_up(self) -> pl.DataFrame:
        """Make up a frame of text: some rows of values that fit the inputs, and one of NULLs; the same each time."""
        chance = random.Random(0)  # noqa: S311 - no secret
        texts: dict[str, list[str | None]] = {}
        for name, kind in self._types.items():
            column = Column(name, (name,), kind)
            convert = build_converter(column, self._null_marker)
            made_up = (make_example(column, chance) for _ in range(MADE_UP_ROWS))
            texts[name] = [*(convert(*only(value)) for value in made_up), None]
        return pl.DataFrame(texts, schema=dict.fromkeys(texts, pl.String))


def _join(parts: list[StageResult]) -> StageResult:
    """Put the results of parts one below the other."""
    failed: dict[int, FailedRow] = {}
    counts: dict[str, int] = {}
    rows = 0
    for part in parts:
        failed |= {rows + row: why for row, why in part.failed.items()}
        counts |= {event: counts.get(event, 0) + count for event, count in part.counts.items()}
        rows += part.frame.height
    return StageResult(pl.concat([part.frame for part in parts]), failed, counts)


def _find_source(enrichment: Enrichment) -> Path | None:
    """Find the file of a user's function, of which a traceback names the line."""
    if not isinstance(enrichment.options, Function):
        return None
    module = sys.modules.get(enrichment.options.function.partition(":")[0])
    try:
        return Path(inspect.getsourcefile(module) or "") if module else None
    except TypeError:  # built in
        return None


def describe(error: BaseException) -> str:
    """Say why something cannot be made ready: what was raised, and the first line of its message."""
    lines = str(error).splitlines()
    return str(error) if isinstance(error, EnrichmentError) else f"{type(error).__name__}: {lines[0] if lines else ''}"
