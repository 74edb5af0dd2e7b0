"""Conditions of targets, asked of all rows of a frame at once. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from fastetl.config import Pipeline, name_question

if TYPE_CHECKING:
    from fastetl.config import Condition

LONGEST_KIND = 64
"""Characters of a type attribute's value by which items that no target takes are counted."""


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


def build_kinds(pipeline: Pipeline) -> pl.Expr:
    """Build what tells the kind of an item that no target takes: its type attribute, or how its key begins."""
    attribute, is_key = pipeline.type_attribute
    if not attribute:
        return pl.lit("?")
    text = pl.col(name_question(attribute)).str.strip_chars('"')
    value = text.str.extract(r"^([^#]*#)") if is_key else text.str.slice(0, LONGEST_KIND)
    return pl.format(f"{attribute}={{}}", value.fill_null("?"))
