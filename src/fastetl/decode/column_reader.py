"""Read one declared column of an item or element, and do with a misfit what the column says. Pure."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from fastetl.columns import UnfitError, build_path_converter, build_shortener, follow_path
from fastetl.decode.rejected import RejectedError
from fastetl.errors import MisfitError

if TYPE_CHECKING:
    from fastetl.columns import Column
    from fastetl.decode.event import Tally

_CURED_BY_SHORTENING = {"too_long", "precision"}


class Item(Protocol):
    """What an item or element comes with, as far as a misfit asks."""

    @property
    def event_id(self) -> str:
        """Of the change."""
        ...

    @property
    def is_delete(self) -> bool:
        """Whether the change deleted it."""
        ...


class ColumnReader:
    """One declared column: finds its value, converts it, and does with a misfit what the column says."""

    def __init__(self, column: Column, null_marker: str) -> None:
        self._column = column
        self._convert = build_path_converter(column, null_marker)
        self._shorten = build_shortener(column, null_marker) if column.on_misfit == "truncate" else None

    def read(self, image: dict[str, Any], change: Item, tally: Tally) -> str | None:
        """Give the column's text of an item."""
        try:
            return self._convert(image)
        except UnfitError as error:
            return self._settle(error, image, change, tally)

    def _settle(self, error: UnfitError, image: dict[str, Any], change: Item, tally: Tally) -> str | None:
        column, policy = self._column, self._column.on_misfit
        if self._shorten and error.reason in _CURED_BY_SHORTENING:
            with contextlib.suppress(UnfitError):
                tag, content = follow_path(image, column.path) or ("NULL", True)
                text = self._shorten(tag, content)
                tally.misfit(column.name, error.reason)
                return text
        # The old image of a deleted item must not keep the deletion from the mirror.
        if policy == "null" or change.is_delete:
            tally.misfit(column.name, error.reason)
            return None
        if policy == "fail":
            raise MisfitError(f"event {change.event_id}: column {column.name}: {error.reason}; it takes {error.detail}")
        raise RejectedError(column.name, error.reason, error.detail)
