"""Choose which pipelines of a warehouse load now, so that they share the minute that each wake-up of it costs. Pure.

Redshift Serverless bills at least 60 seconds whenever it wakes (Amazon Redshift pricing). When one pipeline is due,
the others that have waited long enough load beside it. Loading all that waits at the latest moment that some pipeline
allows takes the fewest wake-ups that any schedule can have; the share only keeps loads from becoming too small.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from fastetl.config import RedshiftTarget


class Standing(msgspec.Struct, frozen=True):
    """What a pipeline would do if it were allowed to."""

    pipeline: str
    warehouse: str
    """The workgroup of Redshift Serverless, or the cluster: it is awake or asleep as a whole."""
    fullness: float = 0.0
    """How much waits that a new batch may take, as a share of the first of its thresholds that is reached: 1 is due. 0
    where nothing waits, or no batch may be opened, since the pipeline is paused."""
    has_attempt: bool = False
    """Whether an open batch is to be tried, for the first time or again."""
    is_running: bool = False
    """Whether the warehouse is at work on one of its batches."""
    is_stuck: bool = False
    """Whether it has been for so long that it probably waits for a lock, and does not compute."""


def choose(
    standings: Iterable[Standing], sharing: Mapping[str, RedshiftTarget], awake: Collection[str] = ()
) -> dict[str, float]:
    """Choose the pipelines that may begin a load now.

    Args:
        standings: of all pipelines, in any order.
        sharing: by warehouse, how its pipelines share it.
        awake: warehouses that are known to be awake, for any pipeline.

    Returns:
        By pipeline, the fullness from which on it loads. Pipelines that must not begin anything now are missing.
    """
    by_warehouse: dict[str, list[Standing]] = {}
    for standing in standings:
        by_warehouse.setdefault(standing.warehouse, []).append(standing)
    chosen: dict[str, float] = {}
    for warehouse, members in by_warehouse.items():
        chosen |= _choose(members, sharing[warehouse], is_awake=warehouse in awake)
    return chosen


def _choose(members: Iterable[Standing], sharing: RedshiftTarget, *, is_awake: bool) -> dict[str, float]:
    running = [each for each in members if each.is_running]
    ready = [each for each in members if not each.is_running]
    due = [each for each in ready if each.fullness >= 1]
    tried = [each for each in ready if each.has_attempt and each.fullness < 1]
    works = is_awake or bool(running or due or tried)
    joining = [each for each in ready if sharing.join_at <= each.fullness < 1 and not each.has_attempt] if works else []
    # What is due comes first; a batch that is tried again, perhaps for the tenth time, comes last.
    in_order = [*sorted(due, key=_urgency), *sorted(joining, key=_urgency), *sorted(tried, key=_urgency)]
    # A load that hangs on a lock takes nothing from the warehouse: it must not keep others from loading.
    places = max(0, sharing.loads_at_once - sum(not each.is_stuck for each in running))
    return {each.pipeline: min(1.0, sharing.join_at) for each in in_order[:places]}


def _urgency(standing: Standing) -> tuple[float, str]:
    return -standing.fullness, standing.pipeline
