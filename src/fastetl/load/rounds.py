"""Move the loads of all pipelines on in one wake-up: those of one warehouse together, and none waits for another."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from fastetl.aws import gather
from fastetl.errors import StaleStepError
from fastetl.load.together import choose

if TYPE_CHECKING:
    from fastetl.config import Pipeline
    from fastetl.load.loader import Loader
    from fastetl.load.steps import Step
    from fastetl.load.survey import Backlog
    from fastetl.load.together import Standing
    from fastetl.model import Head

STANDING_SECONDS = 15
"""A pipeline whose ledger has not answered by then is left out of this wake-up: the others do not wait for it."""

MARGIN_SECONDS = 5
"""What has begun may go on for this long after time is up."""


class Moved(msgspec.Struct):
    """What one wake-up did for one pipeline."""

    actions: list[str] = []
    backlog: Backlog | None = None
    """None where it could not be read."""
    head: Head | None = None
    error: Exception | None = None
    """Why it was not moved on as far as it could be."""


Observe = Callable[[str, "Step"], Awaitable[None]]
"""Is told of each step of each pipeline."""


class Rounds:
    """Moves all pipelines of one deployment on."""

    def __init__(self, loaders: Mapping[str, Loader], pipelines: Iterable[Pipeline]) -> None:
        """Describe the pipelines.

        Args:
            loaders: by pipeline.
            pipelines: of the configuration; those of one warehouse share it.
        """
        self._loaders = loaders
        self._sharing = {pipeline.redshift.warehouse: pipeline.redshift for pipeline in pipelines}

    async def wake_up(self, observe: Observe, seconds_left: Callable[[], float]) -> dict[str, Moved]:
        """Take, for every pipeline, the steps that are due, until nothing is due right away or time is up.

        Args:
            observe: is told of each step.
            seconds_left: until nothing more is to begin.

        Returns:
            By pipeline, what was done, with the error that stopped it, if any.
        """
        moved = {name: Moved() for name in self._loaders}
        standings = await self._read_all(moved, moved, seconds_left)
        chosen = choose(standings.values(), self._sharing)
        # A load that is found to have ended has left its warehouse awake.
        awake = {each.warehouse for each in standings.values() if each.is_running or each.pipeline in chosen}
        following: Iterable[str] = moved

        async def move(name: str) -> str:
            return await self._move_on(name, chosen.get(name, math.inf), moved, observe, seconds_left)

        while following:
            # All at once: no pipeline waits for another one.
            progressed = [name for name in await gather(move, following, at_once=len(moved)) if name]
            standings |= await self._read_all(progressed, moved, seconds_left)
            # A load that has ended leaves its place to the next pipeline.
            chosen = choose(standings.values(), self._sharing, awake) if progressed else {}
            following = chosen
        return moved

    async def _read_all(
        self, names: Iterable[str], moved: Mapping[str, Moved], seconds_left: Callable[[], float]
    ) -> dict[str, Standing]:
        seconds = min(STANDING_SECONDS, seconds_left() + MARGIN_SECONDS)
        found = await gather(lambda name: self._read(name, moved[name], seconds), names, at_once=len(moved))
        return {standing.pipeline: standing for standing in found if standing}

    async def _read(self, name: str, moved: Moved, seconds: float) -> Standing | None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                standing, moved.backlog, moved.head = await self._loaders[name].stand()
        except StaleStepError:
            # Another coordinator has created HEAD in the same moment.
            return None
        except Exception as error:  # noqa: BLE001 - what one pipeline meets keeps no other from being loaded
            moved.error = error
            return None
        return standing

    async def _move_on(
        self,
        name: str,
        share: float,
        moved: Mapping[str, Moved],
        observe: Observe,
        seconds_left: Callable[[], float],
    ) -> str:
        """Take the steps of one pipeline; give its name where there were any."""
        its = moved[name]
        before = len(its.actions)
        if its.error:
            return ""
        try:
            async with asyncio.timeout(max(0.0, seconds_left() + MARGIN_SECONDS)):
                while seconds_left() > 0:
                    step = await self._loaders[name].wake_up(share)
                    if not step.progressed:
                        break
                    its.actions.append(step.action)
                    await observe(name, step)
        except StaleStepError:
            # Another coordinator is at work on this pipeline, and will go on.
            return ""
        except Exception as error:  # noqa: BLE001 - as above
            its.error = error
        return name if len(its.actions) > before else ""
