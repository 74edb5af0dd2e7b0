"""The question of a rehearsal whether an alarm reaches somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastetl.operate.questions import Question

if TYPE_CHECKING:
    from fastetl.aws import Alarm
    from fastetl.operate.rehearsal_means import Means

ACTION_SECONDS = 60
"""For an alarm's action, at most."""

CLOCK_SLACK_SECONDS = 60
"""By how much this clock and CloudWatch's may differ."""


class AlarmArrives:
    """Sets an alarm by hand, and back."""

    def __init__(self, means: Means, alarm: Alarm) -> None:
        """Describe what is asked.

        Args:
            means: of the rehearsal.
            alarm: of the stack.
        """
        self._means = means
        self._alarm = alarm

    def questions(self) -> list[Question]:
        """Give the question."""
        return [
            Question(
                "Does an alarm that is set by hand reach somebody?",
                self._arrives,
                "look for its message",
                "mend that first, or nobody hears what goes wrong",
            )
        ]

    async def _arrives(self) -> tuple[str, bool]:
        listeners = await self._alarm.count_listeners()
        known, before = await self._alarm.find_actions(self._since()), await self._alarm.read_state()
        if before == "ALARM":
            return "it is in alarm already: mend its cause, and ask again", False
        await self._alarm.set_state("ALARM", f"fastetl verify-account {self._means.name} asks whether an alarm arrives")
        try:
            done = await self._find_action(len(known))
        finally:
            await self._alarm.set_state(before, f"fastetl verify-account {self._means.name} has asked")
        if not done.startswith(self._alarm.DONE):
            return f"no: {done or 'no action was taken'}", False
        if not listeners:
            return "no: its topic was told, and nobody has a confirmed subscription", False
        return f"its topic was told, which has {listeners} confirmed", True

    def _since(self) -> float:
        return self._means.deployment.clock() - CLOCK_SLACK_SECONDS - ACTION_SECONDS

    async def _find_action(self, known: int) -> str:
        """Wait for an action beside those that are known; the newest is the first."""
        found: list[str] = []
        since = self._since()

        async def look() -> bool:
            found[:] = await self._alarm.find_actions(since)
            return len(found) > known

        return found[0] if await self._means.look_until(look, ACTION_SECONDS) else ""
