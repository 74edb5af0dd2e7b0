"""Give the rows of a pipeline with several targets to their targets, and enrich each target's by its own steps. Pure.

A row keeps the values of its own target only, at the places that the layout has for them. A row of no target stays as
well: an item that has moved, or of which nothing but a deletion is known, must leave every target that may have it.
Behind the rows of items are those of the elements of their lists, for each child table.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import polars as pl

from fastetl.columns import SYSTEM_COLUMNS
from fastetl.config import REST, Pipeline, locate_columns
from fastetl.decode import RejectedError, build_extra
from fastetl.enrich.child_rows import ChildRows
from fastetl.enrich.conditions import ROUTE, Routes, build_kinds
from fastetl.enrich.enricher import Enriched, Enricher, RejectedRow
from fastetl.enrich.places import Places
from fastetl.enrich.routed import ROW, TARGET, Routed
from fastetl.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    WriteRecords = Callable[[Sequence[int]], list[str]]


_SYSTEM = [name for name, _ in SYSTEM_COLUMNS]


class Router:
    """The targets of one pipeline, each with its enrichments; serves as one enricher."""

    def __init__(
        self,
        pipeline: Pipeline,
        environ: Mapping[str, str] | None = None,
        references: Mapping[str, Path] | None = None,
        *,
        is_native: bool = True,
    ) -> None:
        """Make the enrichments of all targets ready.

        Args:
            pipeline: with several targets.
            environ: environment variables by name, for the keys of masks.
            references: the files that enrichments read, by the name that the configuration has for each.
            is_native: whether elements may be decoded natively; the reference alone gives the same.

        Raises:
            ConfigError: enrichments that cannot work, with their places.
        """
        self._rejects_unrouted = pipeline.unrouted == "reject"
        self._kinds = build_kinds(pipeline)
        self._keys = pipeline.keys
        self._declared = {column.path[0] for column in pipeline.columns} | {path[0] for path in pipeline.lists}
        layout = pipeline.layout
        self._columns = [name for name, _ in layout.columns]
        places = {name: dict(own) for name, own in layout.targets}
        self._targets: list[_Target] = []
        problems: list[Problem] = []
        with _collect(problems):
            self._routes = Routes(pipeline)
        for part in (part for part in pipeline.parts if not part.rows_of):
            with _collect(problems):
                children = [
                    ChildRows(child, places[child.name], environ, is_native=is_native)
                    for child in pipeline.children(part.name)
                ]
                located = locate_columns(pipeline, part)
                self._targets.append(_Target(part, located, places[part.name], environ, children))
        if problems:
            raise ConfigError(tuple(problems))
        self._names = pl.Series(TARGET, [target.name for target in self._targets], dtype=pl.String)
        self._busy = [not target.enricher.is_idle for target in self._targets]
        self._places = Places([target.decoded for target in self._targets])
        self.open(references or {})

    @property
    def _enrichers(self) -> Iterator[Enricher]:
        for target in self._targets:
            yield target.enricher
            for child in target.children:
                yield child.enricher

    def open(self, references: Mapping[str, Path]) -> None:
        """Make every enrichment ready, its reference file read.

        Args:
            references: the files that enrichments read, by the name that the configuration has for each.

        Raises:
            ConfigError: enrichments that cannot work, with their places.
        """
        problems: list[Problem] = []
        for enricher in self._enrichers:
            with _collect(problems):
                enricher.open(references)
        if problems:
            raise ConfigError(tuple(problems))

    def try_out(self) -> tuple[Problem, ...]:
        """Run conditions and enrichments on made-up values, and tell which of them fail or are not row-wise."""
        found = (problem for enricher in self._enrichers for problem in enricher.try_out())
        return (*self._routes.try_out(), *found)

    def apply(self, frame: pl.DataFrame, write_records: WriteRecords = lambda _: []) -> Enriched:
        """Give the rows to their targets, and enrich them.

        Args:
            frame: a row for each change, with the columns that are decoded for all targets.
            write_records: gives the records of rows, of which the extra column of the rest is made.

        Returns:
            The frame with the columns of the layout, and the rows that are rejected.

        Raises:
            EnrichmentError: a step is broken, or fails on a row and its `on_error` is `fail`.
            MisfitError: a value of an element does not fit a column whose policy is `fail`.
        """
        work = Routed()
        routes = self._routes.find(frame)
        numbers = pl.int_range(frame.height, dtype=pl.UInt32, eager=True).alias(ROW)
        rows = frame.hstack([numbers, routes, self._names[routes]])
        if routes.null_count():
            rows = self._settle_unrouted(rows, work)
        pieces: list[pl.DataFrame] = []
        if any(self._busy):
            for number in (number for number, is_busy in enumerate(self._busy) if is_busy):
                pieces += self._targets[number].take(rows.filter(rows[ROUTE] == number), work)
            is_busy = pl.Series(self._busy)[rows[ROUTE]]
            rows = rows.filter(~is_busy.fill_null(value=False))
        system = [rows[name] for name in (ROW, *_SYSTEM, TARGET)]
        own = pl.DataFrame([*system, *self._places.fill(rows, rows[ROUTE])])
        numbers = pl.int_range(rows.height, dtype=pl.UInt32, eager=True)
        for number, target in enumerate(self._targets):
            if target.is_rest:
                self._count(rows.filter((rows[ROUTE] == number) & (rows["_deleted"] == "false")), work)
                own = self._add_extra(own, target, work, write_records)
            if target.children and not self._busy[number]:
                pieces += target.take_elements(rows, numbers.filter(rows[ROUTE] == number), work)
        whole = pl.concat([own, *pieces], how="diagonal") if pieces else own
        if work.unfit:
            whole = whole.filter(~pl.col(ROW).is_in(list(work.unfit)))
        missing = [pl.lit(None, pl.String).alias(name) for name in self._columns if name not in whole.columns]
        if missing:
            whole = whole.with_columns(missing)
        return work.finish(whole[self._columns], whole[ROW])

    def _settle_unrouted(self, rows: pl.DataFrame, work: Routed) -> pl.DataFrame:
        """Count the items that no target takes, and reject them where that is asked for; deletions stay everywhere."""
        is_unrouted = rows[TARGET].is_null() & (rows["_deleted"] == "false")
        unrouted = rows.filter(is_unrouted)
        self._count(unrouted, work)
        if not self._rejects_unrouted or unrouted.is_empty():
            return rows
        detail = "an item of which the conditions of one target hold"
        work.rejected += [RejectedRow(row, "", "unrouted", detail) for row in unrouted[ROW]]
        return rows.filter(~is_unrouted)

    def _count(self, unrouted: pl.DataFrame, work: Routed) -> None:
        """Count items by what tells their kind."""
        kinds = unrouted.select(self._kinds).to_series().value_counts()
        work.unrouted.update({str(kind): count for kind, count in kinds.iter_rows()})

    def _add_extra(self, own: pl.DataFrame, target: _Target, work: Routed, write_records: WriteRecords) -> pl.DataFrame:
        """Give the rows of the rest their extra column: all that their items hold beside the key."""
        is_of_rest = (own[TARGET] == target.name).fill_null(value=False) & (own["_deleted"] == "false")
        alive = own.filter(is_of_rest)[ROW].to_list()
        extras: dict[int, str | None] = {}
        for row, record in zip(alive, write_records(alive), strict=True):
            try:
                extras[row], names = build_extra(record, self._keys)
                # They are kept after all.
                work.ignored.subtract(name for name in names if name not in self._declared)
            except RejectedError as error:
                work.rejected.append(RejectedRow(row, f"{target.name}.{target.extra}", error.reason, error.detail))
        gone = [row for row in alive if row not in extras]
        kept = own.filter(~pl.col(ROW).is_in(gone)) if gone else own
        texts = pl.Series(target.extra_place, [extras.get(row) for row in kept[ROW]], dtype=pl.String)
        return kept.with_columns(texts)


class _Target:
    """One target: its columns, its enrichments, and its child tables."""

    def __init__(
        self, part: Pipeline, located: dict[str, str], places: dict[str, str],
        environ: Mapping[str, str] | None, children: list[ChildRows],
    ) -> None:  # fmt: skip
        self.name = part.name
        self.enricher = Enricher(part, environ)
        self.children = children
        self.is_rest = part.name == REST
        self.extra, self.extra_place = part.extra_column, places.get(part.extra_column, "")
        self._kept_deletes = list(part.kept_deletes)
        self.decoded = {places[column]: decoded for column, decoded in located.items()}
        """The decoded column by its place in the file, where nothing is enriched."""
        self._decoded = [pl.col(decoded).alias(column) for column, decoded in located.items()]
        self._placed = [pl.col(column).alias(place) for column, place in places.items()]

    def take(self, rows: pl.DataFrame, work: Routed) -> list[pl.DataFrame]:
        """Enrich the target's rows, and give them with those of their elements."""
        numbers = rows[ROW]
        enriched = self.enricher.apply(rows.select(*_SYSTEM, *self._decoded))
        work.add(self.name, enriched, numbers)
        if gone := [each.row for each in enriched.rejected]:
            rows = rows.filter(~pl.int_range(len(numbers), eager=True).is_in(gone))
        own = enriched.frame.select(*_SYSTEM, *self._placed, pl.lit(self.name).alias(TARGET))
        own = own.with_columns(rows[ROW])
        if not self.children:
            return [own]
        # Two child tables may be of one list.
        lists = rows[list(dict.fromkeys(child.decoded for child in self.children))]
        rows = own.select(ROW, *_SYSTEM).hstack(lists)
        return [own, *self.take_elements(rows, pl.int_range(rows.height, dtype=pl.UInt32, eager=True), work)]

    def take_elements(self, rows: pl.DataFrame, places: pl.Series, work: Routed) -> list[pl.DataFrame]:
        """Give the elements of the lists that items have, for each child table.

        Args:
            rows: with their lists.
            places: of the target's own among them.
            work: what happens is added to it.
        """
        # What an item that is deleted held counts where it stays in the mirror.
        stays = rows["_deleted"][places] == "false"
        if self._kept_deletes:
            stays |= rows["_op"][places].is_in(self._kept_deletes)
        places = places.filter(stays)
        return [child.take(rows, places, work) for child in self.children]


@contextmanager
def _collect(problems: list[Problem]) -> Iterator[None]:
    """Add what is wrong with a configuration to other problems, so that all are told at once."""
    try:
        yield
    except ConfigError as error:
        problems += error.problems


def make_enricher(
    pipeline: Pipeline, environ: Mapping[str, str] | None = None, references: Mapping[str, Path] | None = None
) -> Enricher | Router:
    """Build what enriches the rows of a pipeline, and with several targets gives them to their targets first.

    Args:
        pipeline: its columns and enrichments, or its targets.
        environ: environment variables by name, for the keys of masks.
        references: the files that enrichments read, by the name that the configuration has for each.

    Raises:
        ConfigError: enrichments that cannot work, with their places.
    """
    return (Router if pipeline.parts else Enricher)(pipeline, environ, references)
