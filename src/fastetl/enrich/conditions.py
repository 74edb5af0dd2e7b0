"""Which target takes which row: conditions, asked of all rows of a frame at once. Pure."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl

from fastetl.config import Enrichment, Filter, Pipeline, name_asked, name_question
from fastetl.enrich.stage import RAISED, Stage, describe
from fastetl.enrich.steps import StepContext
from fastetl.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastetl.config import Condition

Test = Callable[[pl.DataFrame], pl.Series]
"""Tells of which rows of a frame a condition holds; null counts as no."""

ROUTE = "_route"
"""The column with the number of a row's target."""

LONGEST_KIND = 64
"""Characters of a type attribute's value by which items that no target takes are counted."""


class Routes:
    """Which target takes which row: the first whose conditions all hold."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Make the conditions ready.

        Args:
            pipeline: with several targets.

        Raises:
            ConfigError: conditions in SQL that cannot work, with their places.
        """
        self._stages: dict[str, Stage] = {}
        self._routes: list[tuple[pl.Series, list[Test]]] = []
        problems: list[Problem] = []
        for number, part in enumerate(part for part in pipeline.parts if not part.rows_of):
            tests: list[Test] = []
            for n, condition in enumerate(part.when):
                place = f"pipelines.{pipeline.name}.targets.{part.name}.when[{n}].sql"
                try:
                    tests.append(self._build_test(place, condition, pipeline.file.null_marker))
                except RAISED as error:
                    problems.append(Problem(place, describe(error), "Correct it; it is in the dialect of Polars"))
            self._routes.append((_number(number), tests))
        if problems:
            raise ConfigError(tuple(problems))

    def find(self, frame: pl.DataFrame) -> pl.Series:
        """Give the number of the target that takes each row, null where none does.

        Args:
            frame: with the columns that conditions ask.

        Raises:
            EnrichmentError: a condition in SQL fails on every row.
        """
        # Column by column and by numbers: a query, or a choice between texts, takes longer than all of this.
        routes = _number(None).new_from_index(0, frame.height)
        for number, tests in reversed(self._routes):
            if tests:
                first, *others = (test(frame) for test in tests)
                routes = number.zip_with(functools.reduce(operator.and_, others, first), routes)
            else:
                routes = number.new_from_index(0, frame.height)
        return routes

    def try_out(self) -> Iterator[Problem]:
        """Ask conditions in SQL about made-up values, and tell which of them fail or are not row-wise."""
        for place, stage in self._stages.items():
            for message in stage.try_out():
                yield Problem(place, message, "Let it take every value of its columns' types, NULL among them")

    def _build_test(self, place: str, condition: Condition, null_marker: str) -> Test:
        if not condition.sql:
            return build_test(condition)
        # As an enrichment that keeps some rows: one on which it fails is not kept, and no other notices.
        types = {column.name: column.type for column in condition.asks}
        context = StepContext(types, frozenset(), null_marker, {}, {})
        stage = self._stages[place] = Stage("when", Enrichment(Filter(condition.sql)), context)
        asked = [pl.col(name_asked(column)).alias(column.name) for column in condition.asks]
        return lambda frame: stage.run(frame.select(asked)).frame.to_series()


def build_test(condition: Condition) -> Test:
    """Build what tells of which rows a condition on one attribute holds.

    Args:
        condition: on it.
    """
    question = name_question(condition.attribute)
    if condition.present is not None:
        is_there = condition.present
        return lambda frame: frame[question].is_not_null() if is_there else frame[question].is_null()
    if len(values := condition.json_values) == 1:
        return lambda frame: frame[question] == values[0]
    if values:
        return lambda frame: frame[question].is_in(values)
    if condition.like:
        pattern = condition.json_pattern
        return lambda frame: frame[question].str.contains(pattern)
    prefix = condition.json_prefix
    return lambda frame: frame[question].str.starts_with(prefix)


def _number(number: int | None) -> pl.Series:
    return pl.Series(ROUTE, [number], dtype=pl.UInt16)


def build_kinds(pipeline: Pipeline) -> pl.Expr:
    """Build what tells the kind of an item that no target takes: its type attribute, or how its key begins."""
    attribute, is_key = pipeline.type_attribute
    if not attribute:
        return pl.lit("?")
    text = pl.col(name_question(attribute)).str.strip_chars('"')
    value = text.str.extract(r"^([^#]*#)") if is_key else text.str.slice(0, LONGEST_KIND)
    return pl.format(f"{attribute}={{}}", value.fill_null("?"))
