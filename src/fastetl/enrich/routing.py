"""Give the rows of a pipeline with several targets to their targets, and enrich each target's by its own steps. Pure.

A row keeps the values of its own target only, at the places that the layout has for them. A row of no target stays as
well: an item that has moved, or of which nothing but a deletion is known, must leave every target that may have it.
Behind an item's row are those of the elements of its lists, for each child table of its target.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from fastetl.columns import SYSTEM_COLUMNS
from fastetl.config import REST, Pipeline, locate_columns, name_list, name_question
from fastetl.decode import ITEM, ElementDecoder, RejectedError, build_extra
from fastetl.enrich.enricher import Enriched, Enricher, RejectedRow
from fastetl.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from fastetl.config import Condition

    WriteRecords = Callable[[Sequence[int]], list[str]]

_ROW = "row"
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
        self._targets = {}
        for part in pipeline.parts:
            if part.rows_of:
                continue
            children = [
                _Child(child, places[child.name], environ, is_native=is_native)
                for child in pipeline.children(part.name)
            ]
            located = locate_columns(pipeline, part)
            self._targets[part.name] = _Target(part, located, places[part.name], environ, children)
        self._extra = next(
            ((part.extra_column, places[REST][part.extra_column]) for part in pipeline.parts if part.name == REST),
            ("", ""),
        )
        self._route = pl.coalesce(
            *(pl.when(_build_conditions(part)).then(pl.lit(part.name)) for part in pipeline.parts if not part.rows_of)
        )
        self.open(references or {})

    @property
    def _enrichers(self) -> Iterator[Enricher]:
        for target in self._targets.values():
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
        routed = frame.with_columns(self._route.alias("_target")).with_row_index(_ROW)
        work = _Work()
        pieces = [pl.DataFrame(schema={_ROW: pl.UInt32, **dict.fromkeys(self._columns, pl.String)})]
        for (name,), rows in routed.partition_by("_target", maintain_order=True, as_dict=True).items():
            if name is None or name == REST:
                self._count(rows, work)
            pieces += [self._leave(rows, work)] if name is None else self._targets[str(name)].take(rows, work)
            if name == REST:
                pieces[-1] = self._add_extra(pieces[-1], work, write_records)
        whole = pl.concat(pieces, how="diagonal").sort(_ROW, maintain_order=True)
        return work.finish(whole.select(self._columns), whole[_ROW])

    def _count(self, rows: pl.DataFrame, work: _Work) -> None:
        """Count items that no target takes, by what tells their kind."""
        alive = rows.filter(pl.col("_deleted") == "false")
        work.unrouted.update(
            {str(kind): count for kind, count in alive.select(self._kinds).to_series().value_counts().iter_rows()}
        )

    def _leave(self, rows: pl.DataFrame, work: _Work) -> pl.DataFrame:
        """Keep rows of no target as what they are: deletions everywhere; live items are rejected, or counted."""
        is_alive = rows["_deleted"] == "false"
        if self._rejects_unrouted and is_alive.any():
            detail = "an item of which the conditions of one target hold"
            work.rejected += [RejectedRow(row, "", "unrouted", detail) for row in rows.filter(is_alive)[_ROW]]
            rows = rows.filter(~is_alive)
        return rows.select(_ROW, *_SYSTEM)

    def _add_extra(self, rest: pl.DataFrame, work: _Work, write_records: WriteRecords) -> pl.DataFrame:
        """Give the rows of the rest their extra column: all that their items hold beside the key."""
        alive = rest.filter(pl.col("_deleted") == "false")[_ROW].to_list()
        extras: dict[int, str | None] = {}
        for row, record in zip(alive, write_records(alive), strict=True):
            try:
                extras[row], names = build_extra(record, self._keys)
                # They are kept after all.
                work.ignored.subtract(name for name in names if name not in self._declared)
            except RejectedError as error:
                work.rejected.append(RejectedRow(row, f"{REST}.{self._extra[0]}", error.reason, error.detail))
        gone = [row for row in alive if row not in extras]
        kept = rest.filter(~pl.col(_ROW).is_in(gone))
        texts = [extras.get(row) for row in kept[_ROW]]
        return kept.with_columns(pl.Series(self._extra[1], texts, dtype=pl.String))


class _Target:
    """One target: its columns, its enrichments, and its child tables."""

    def __init__(
        self, part: Pipeline, located: dict[str, str], places: dict[str, str], environ: Mapping[str, str] | None,
        children: list[_Child],
    ) -> None:  # fmt: skip
        self.enricher = Enricher(part, environ)
        self.children = children
        self._name = part.name
        self._kept_deletes = part.kept_deletes
        self._decoded = [pl.col(decoded).alias(column) for column, decoded in located.items()]
        # What the rest holds beside its key is not decoded with the others.
        later = {part.extra_column} if part.name == REST else set()
        self._placed = [pl.col(column).alias(place) for column, place in places.items() if column not in later]

    def take(self, rows: pl.DataFrame, work: _Work) -> list[pl.DataFrame]:
        """Enrich the target's rows, and give them with those of their elements."""
        numbers = rows[_ROW]
        enriched = self.enricher.apply(rows.select(*_SYSTEM, *self._decoded))
        work.add(self._name, enriched, numbers)
        if gone := [each.row for each in enriched.rejected]:
            rows = rows.filter(~pl.int_range(len(numbers), eager=True).is_in(gone))
        own = enriched.frame.select(*_SYSTEM, *self._placed, pl.lit(self._name).alias("_target"))
        own = own.with_columns(rows[_ROW])
        if not self.children:
            return [own]
        # What an item that is deleted held counts where it stays in the mirror.
        stays = own["_deleted"] == "false"
        if self._kept_deletes:
            stays |= own["_op"].is_in(self._kept_deletes)
        parents, rows = own.filter(stays), rows.filter(stays)
        pieces = [child.take(parents, rows[child.decoded], work) for child in self.children]
        if unfit := work.unfit & set(parents[_ROW]):
            return [piece.filter(~pl.col(_ROW).is_in(list(unfit))) for piece in (own, *pieces)]
        return [own, *pieces]


class _Child:
    """One child table: how elements are decoded, and their enrichments."""

    def __init__(
        self, child: Pipeline, places: dict[str, str], environ: Mapping[str, str] | None, *, is_native: bool
    ) -> None:
        self.enricher = Enricher(child, environ)
        self.decoded = name_list(child.rows_of)
        self._name = child.name
        self._decoder = ElementDecoder(child, is_native=is_native)
        self._placed = [pl.col(column).alias(place) for column, place in places.items()]

    def take(self, parents: pl.DataFrame, lists: pl.Series, work: _Work) -> pl.DataFrame:
        """Give a row for each element of the lists, with key and version of its item, as `parents` has them."""
        deleted = (parents["_deleted"] == "true").to_list()
        elements = self._decoder.decode(lists, deleted, parents["_event_id"].to_list())
        work.add_elements(self._name, elements.misfits, elements.ignored)
        numbers = parents[_ROW]
        for unfit in elements.unfit:
            work.reject_item(RejectedRow(numbers[unfit.item], self._place(unfit.column), unfit.reason, unfit.detail))
        items = elements.frame[ITEM]
        own = parents[items].select(_ROW, *_SYSTEM)
        enriched = self.enricher.apply(pl.concat([own, elements.frame], how="horizontal"))
        work.add_counts(self._name, enriched)
        for each in enriched.rejected:
            work.reject_item(RejectedRow(own[_ROW][each.row], self._place(each.column), each.reason, each.detail))
        # A filter makes a row a deletion: an element that it does not keep is no row.
        kept = enriched.frame.filter(pl.col("_op") != "LEAVE")
        return kept.select(_ROW, *_SYSTEM, *self._placed, pl.lit(self._name).alias("_target"))

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


def _build_conditions(part: Pipeline) -> pl.Expr:
    return pl.all_horizontal(*map(_build_condition, part.when)) if part.when else pl.lit(value=True)


def _build_condition(condition: Condition) -> pl.Expr:
    json = pl.col(name_question(condition.attribute))
    if condition.present is not None:
        return json.is_not_null() if condition.present else json.is_null()
    if condition.one_of:
        return json.is_in(condition.json_values).fill_null(value=False)
    if condition.like:
        return json.str.contains(condition.json_pattern).fill_null(value=False)
    return json.str.starts_with(condition.json_prefix).fill_null(value=False)
