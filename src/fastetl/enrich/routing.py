"""Give the rows of a pipeline with several targets to their targets, and enrich each target's by its own steps. Pure.

A row keeps the values of its own target only, at the places that the layout has for them. A row of no target stays as
well: an item that has moved, or of which nothing but a deletion is known, must leave every target that may have it.
Behind the rows of items are those of the elements of their lists, for each child table.
"""

from __future__ import annotations

import functools
import operator
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from fastetl.columns import SYSTEM_COLUMNS
from fastetl.config import REST, Pipeline, locate_columns, name_list, name_question
from fastetl.decode import ElementDecoder, RejectedError, build_extra
from fastetl.enrich.enricher import Enriched, Enricher, RejectedRow
from fastetl.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from fastetl.config import Condition

    WriteRecords = Callable[[Sequence[int]], list[str]]

_JOINED = ["_key", "_version", "_file"]
"""What rows of elements have of their item; the rest is in the item's own row, which the warehouse joins them with."""
_ROW = "row"
_TARGET = "_target"
LONGEST_KIND = 64
"""Characters of a type attribute's value by which items that no target takes are counted."""

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
        self._kinds = _build_kinds(pipeline)
        self._keys = pipeline.keys
        self._declared = {column.path[0] for column in pipeline.columns} | {path[0] for path in pipeline.lists}
        layout = pipeline.layout
        self._columns = [name for name, _ in layout.columns]
        places = {name: dict(own) for name, own in layout.targets}
        self._targets = []
        for part in (part for part in pipeline.parts if not part.rows_of):
            children = [
                _Child(child, places[child.name], environ, is_native=is_native)
                for child in pipeline.children(part.name)
            ]
            located = locate_columns(pipeline, part)
            self._targets.append(_Target(part, located, places[part.name], environ, children))
        self._routes = [
            (part.when, pl.Series(_TARGET, [part.name])) for part in reversed(pipeline.parts) if not part.rows_of
        ]
        self._idle = [target for target in self._targets if target.enricher.is_idle]
        self._busy = [target for target in self._targets if not target.enricher.is_idle]
        self._placed = _place(self._idle, whole=len(self._idle) == len(self._targets))
        self._placed_in_part = _place(self._idle, whole=False)
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
            try:
                enricher.open(references)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(tuple(problems))

    def try_out(self) -> tuple[Problem, ...]:
        """Run every enrichment on made-up values, and tell which of them fail or are not row-wise."""
        return tuple(problem for enricher in self._enrichers for problem in enricher.try_out())

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
        work = _Work()
        targets = self._find_targets(frame)
        rows = frame.hstack([pl.int_range(frame.height, dtype=pl.UInt32, eager=True).alias(_ROW), targets])
        if is_split := targets.null_count() > 0:
            rows = self._settle_unrouted(rows, work)
        pieces: list[pl.DataFrame] = []
        if self._busy:
            for target in self._busy:
                pieces += target.take(rows.filter(pl.col(_TARGET) == target.name), work)
            rows = rows.filter(~pl.col(_TARGET).is_in([target.name for target in self._busy]).fill_null(value=False))
        own = rows.select(_ROW, *_SYSTEM, _TARGET, *(self._placed_in_part if is_split else self._placed))
        for target in self._idle:
            if target.is_rest:
                self._count(rows.filter((pl.col(_TARGET) == target.name) & (pl.col("_deleted") == "false")), work)
                own = self._add_extra(own, target, work, write_records)
            if target.children:
                pieces += target.take_elements(rows, work)
        whole = pl.concat([own, *pieces], how="diagonal") if pieces else own
        if work.unfit:
            whole = whole.filter(~pl.col(_ROW).is_in(list(work.unfit)))
        missing = [pl.lit(None, pl.String).alias(name) for name in self._columns if name not in whole.columns]
        if missing:
            whole = whole.with_columns(missing)
        return work.finish(whole[self._columns], whole[_ROW])

    def _find_targets(self, frame: pl.DataFrame) -> pl.Series:
        """Name the target that takes each row, null where none does."""
        # Column by column: a query of Polars takes longer than all of this.
        targets = pl.Series(_TARGET, [None], dtype=pl.String).new_from_index(0, frame.height)
        for conditions, name in self._routes:
            own = name.new_from_index(0, frame.height)
            if conditions:
                first, *others = (find_rows(frame, condition) for condition in conditions)
                own = own.zip_with(functools.reduce(operator.and_, others, first), targets)
            targets = own
        return targets

    def _settle_unrouted(self, rows: pl.DataFrame, work: _Work) -> pl.DataFrame:
        """Count the items that no target takes, and reject them where that is asked for; deletions stay everywhere."""
        is_unrouted = rows[_TARGET].is_null() & (rows["_deleted"] == "false")
        unrouted = rows.filter(is_unrouted)
        self._count(unrouted, work)
        if not self._rejects_unrouted or unrouted.is_empty():
            return rows
        detail = "an item of which the conditions of one target hold"
        work.rejected += [RejectedRow(row, "", "unrouted", detail) for row in unrouted[_ROW]]
        return rows.filter(~is_unrouted)

    def _count(self, unrouted: pl.DataFrame, work: _Work) -> None:
        """Count items by what tells their kind."""
        kinds = unrouted.select(self._kinds).to_series().value_counts()
        work.unrouted.update({str(kind): count for kind, count in kinds.iter_rows()})

    def _add_extra(self, own: pl.DataFrame, target: _Target, work: _Work, write_records: WriteRecords) -> pl.DataFrame:
        """Give the rows of the rest their extra column: all that their items hold beside the key."""
        is_of_rest = (own[_TARGET] == target.name).fill_null(value=False) & (own["_deleted"] == "false")
        alive = own.filter(is_of_rest)[_ROW].to_list()
        extras: dict[int, str | None] = {}
        for row, record in zip(alive, write_records(alive), strict=True):
            try:
                extras[row], names = build_extra(record, self._keys)
                # They are kept after all.
                work.ignored.subtract(name for name in names if name not in self._declared)
            except RejectedError as error:
                work.rejected.append(RejectedRow(row, f"{target.name}.{target.extra}", error.reason, error.detail))
        gone = [row for row in alive if row not in extras]
        kept = own.filter(~pl.col(_ROW).is_in(gone)) if gone else own
        texts = pl.Series(target.extra_place, [extras.get(row) for row in kept[_ROW]], dtype=pl.String)
        return kept.with_columns(texts)


class _Target:
    """One target: its columns, its enrichments, and its child tables."""

    def __init__(
        self, part: Pipeline, located: dict[str, str], places: dict[str, str],
        environ: Mapping[str, str] | None, children: list[_Child],
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

    def take(self, rows: pl.DataFrame, work: _Work) -> list[pl.DataFrame]:
        """Enrich the target's rows, and give them with those of their elements."""
        numbers = rows[_ROW]
        enriched = self.enricher.apply(rows.select(*_SYSTEM, *self._decoded))
        work.add(self.name, enriched, numbers)
        if gone := [each.row for each in enriched.rejected]:
            rows = rows.filter(~pl.int_range(len(numbers), eager=True).is_in(gone))
        own = enriched.frame.select(*_SYSTEM, *self._placed, pl.lit(self.name).alias(_TARGET))
        own = own.with_columns(rows[_ROW])
        if not self.children:
            return [own]
        lists = rows.select(_TARGET, *(child.decoded for child in self.children))
        return [own, *self.take_elements(own.select(_ROW, *_SYSTEM).hstack(lists), work)]

    def take_elements(self, rows: pl.DataFrame, work: _Work) -> list[pl.DataFrame]:
        """Give the elements of the lists that the target's items among some rows have, for each child table."""
        # What an item that is deleted held counts where it stays in the mirror.
        stays = rows["_deleted"] == "false"
        if self._kept_deletes:
            stays |= rows["_op"].is_in(self._kept_deletes)
        stays &= rows[_TARGET] == self.name
        return [child.take(rows, stays & rows[child.decoded].is_not_null(), work) for child in self.children]


class _Child:
    """One child table: how elements are decoded, and their enrichments."""

    def __init__(
        self, child: Pipeline, places: dict[str, str], environ: Mapping[str, str] | None, *, is_native: bool
    ) -> None:
        self.enricher = Enricher(child, environ)
        self.decoded = name_list(child.rows_of)
        self._name = child.name
        self._decoder = ElementDecoder(child, is_native=is_native)
        self._of_item = [_ROW, *(_JOINED if self.enricher.is_idle else _SYSTEM)]
        self._placed = [*((name, name) for name in (_ROW, *_JOINED)), *places.items()]
        self._target = pl.Series(_TARGET, [child.name])

    def take(self, rows: pl.DataFrame, have_lists: pl.Series, work: _Work) -> pl.DataFrame:
        """Give a row for each element of the lists of some rows, with key, version and file of its item.

        Args:
            rows: with their lists.
            have_lists: which of them have elements.
            work: what happens is added to it.
        """
        places = have_lists.arg_true()

        def read_whose(item: int) -> tuple[str, bool]:
            place = places[item]
            return rows["_event_id"][place], rows["_deleted"][place] == "true"

        elements = self._decoder.decode(rows[self.decoded].gather(places), read_whose)
        work.add_elements(self._name, elements.misfits, elements.ignored)
        for unfit in elements.unfit:
            row = rows[_ROW][places[unfit.item]]
            work.reject_item(RejectedRow(row, self._place(unfit.column), unfit.reason, unfit.detail))
        items = places.gather(elements.items)
        found = pl.DataFrame([*(rows[name].gather(items) for name in self._of_item), *elements.frame])
        if not self.enricher.is_idle:
            enriched = self.enricher.apply(found)
            work.add_counts(self._name, enriched)
            for each in enriched.rejected:
                row = found[_ROW][each.row]
                work.reject_item(RejectedRow(row, self._place(each.column), each.reason, each.detail))
            # A filter makes a row a deletion: an element that it does not keep is no row.
            found = enriched.frame.filter(pl.col("_op") != "LEAVE")
        placed = [found[column].alias(place) for column, place in self._placed]
        return pl.DataFrame([*placed, self._target.new_from_index(0, found.height)])

    def _place(self, column: str) -> str:
        return f"{self._name}.{column}" if column else self._name


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


class _Work:
    """What happened to the rows of all targets."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.misfits: Counter[tuple[str, str]] = Counter()
        self.errors: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()
        self.unrouted: Counter[str] = Counter()
        self.rejected: list[RejectedRow] = []
        self.unfit: set[int] = set()
        """Rows that are rejected because of an element."""

    def add(self, target: str, enriched: Enriched, rows: pl.Series) -> None:
        """Add what a target's enrichments did; `rows` are where its rows are among all."""
        self.add_counts(target, enriched)
        for each in enriched.rejected:
            column = f"{target}.{each.column}" if each.column else ""
            self.rejected.append(msgspec.structs.replace(each, row=rows[each.row], column=column))

    def add_counts(self, target: str, enriched: Enriched) -> None:
        """Add what a target's or a child table's enrichments counted."""
        self.counts.update({f"{target}/{what}": count for what, count in enriched.counts.items()})
        self.add_elements(target, enriched.misfits, {})
        self.errors.update(enriched.errors)

    def add_elements(self, child: str, misfits: Mapping[tuple[str, str], int], ignored: Mapping[str, int]) -> None:
        """Add what did not fit a child table's columns."""
        self.misfits.update({(f"{child}.{column}", reason): count for (column, reason), count in misfits.items()})
        self.ignored.update({f"{child}.{name}": count for name, count in ignored.items()})

    def reject_item(self, rejected: RejectedRow) -> None:
        """Reject an item because of an element, once."""
        if rejected.row not in self.unfit:
            self.unfit.add(rejected.row)
            self.rejected.append(rejected)

    def finish(self, frame: pl.DataFrame, rows: pl.Series) -> Enriched:
        """Give all of it; `rows` are whose the frame's rows are."""
        return Enriched(
            frame=frame,
            counts=dict(self.counts),
            rejected=tuple(sorted(self.rejected, key=lambda each: each.row)),
            misfits=dict(self.misfits),
            errors=dict(self.errors),
            ignored=dict(self.ignored),
            unrouted=dict(self.unrouted),
            sources=rows,
        )


def _build_kinds(pipeline: Pipeline) -> pl.Expr:
    """Build what tells the kind of an item that no target takes: its type attribute, or how its key begins."""
    attribute, is_key = pipeline.type_attribute
    if not attribute:
        return pl.lit("?")
    text = pl.col(name_question(attribute)).str.strip_chars('"')
    value = text.str.extract(r"^([^#]*#)") if is_key else text.str.slice(0, LONGEST_KIND)
    return pl.format(f"{attribute}={{}}", value.fill_null("?"))


def _place(targets: Sequence[_Target], *, whole: bool) -> list[pl.Expr]:
    """Build the columns of the file from the decoded ones, for targets without enrichments.

    Args:
        targets: that have no enrichments.
        whole: whether every row is of one of them, so that what all have at one place needs no look at the target.
    """
    sources: dict[str, dict[str, list[str]]] = {}
    for target in targets:
        for place, decoded in target.decoded.items():
            sources.setdefault(place, {}).setdefault(decoded, []).append(target.name)
    placed = []
    for place, by_decoded in sources.items():
        (first, names), *_ = by_decoded.items()
        if whole and len(names) == len(targets):
            placed.append(pl.col(first).alias(place))
            continue
        values = [pl.when(pl.col(_TARGET).is_in(names)).then(pl.col(decoded)) for decoded, names in by_decoded.items()]
        placed.append(pl.coalesce(values).alias(place) if len(values) > 1 else values[0].otherwise(None).alias(place))
    return placed


def find_rows(frame: pl.DataFrame, condition: Condition) -> pl.Series:
    """Tell of which rows a condition holds; null counts as no.

    Args:
        frame: with the column of the attribute that is asked.
        condition: on it.
    """
    json = frame[name_question(condition.attribute)]
    if condition.present is not None:
        return json.is_not_null() if condition.present else json.is_null()
    if len(condition.one_of) == 1:
        return json == condition.json_values[0]
    if condition.one_of:
        return json.is_in(condition.json_values)
    if condition.like:
        return json.str.contains(condition.json_pattern)
    return json.str.starts_with(condition.json_prefix)
