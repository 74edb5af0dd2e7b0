"""Find the target that takes an item, by what the conditions of several targets ask. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.decode.column_reader import ColumnReader
from fastetl.decode.event import Tally

if TYPE_CHECKING:
    from fastetl.config import Pipeline


class _Asked(msgspec.Struct, frozen=True):
    """An item of which no misfit is told: what does not fit a question counts as NULL."""

    event_id: str = ""
    is_delete: bool = False


class TargetFinder:
    """Finds the target of one item after the other."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Describe how the targets of a pipeline are found.

        Args:
            pipeline: with several targets; with one there is nothing to find.
        """
        self._targets = [(part.name, part.when) for part in pipeline.parts if not part.rows_of]
        questions = {each.name: each for _, when in self._targets for condition in when for each in condition.questions}
        self._readers = {name: ColumnReader(each, pipeline.file.null_marker) for name, each in questions.items()}

    def find(self, image: dict[str, Any]) -> tuple[str, dict[str, str | None]]:
        """Find the first target whose conditions all hold.

        Args:
            image: the item, as DynamoDB JSON has it.

        Returns:
            The target's name, empty where none takes the item, and what was asked, by the names of the questions.
        """
        values = {name: reader.read(image, _Asked(), Tally()) for name, reader in self._readers.items()}
        taking = (name for name, when in self._targets if all(condition.holds(values) for condition in when))
        return next(taking, ""), values
