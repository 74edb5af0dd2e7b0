"""The questions of a rehearsal about what goes wrong: two attempts at once, bad files, and the texts of failures."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fastetl.errors import WarehouseError
from fastetl.operate.questions import Question
from fastetl.operate.rehearsal_means import knows
from fastetl.sql import build_statements, quote_table, resolve_sql

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastetl.aws import Run
    from fastetl.load import BatchName, RehearsalStep
    from fastetl.operate.rehearsal_means import Means

CROSSED_TIMES = 16
"""A table of a few rows, joined with itself so often without a condition, has thousands of millions."""

GUARDS = {
    "lock": "the gate's LOCK",
    "bump": "the gate's UPDATE, which met an older snapshot",
    "gate_batch": "the gate, which read behind LOCK what the other had committed",
}
"""What may refuse the second of two attempts, by the step that fails."""


class Failures:
    """Asks whether failures are what loads take them for."""

    def __init__(self, means: Means, overlap_seconds: float) -> None:
        """Describe what is asked.

        Args:
            means: of the rehearsal.
            overlap_seconds: for two attempts to stand at the gate, at most.
        """
        self._means = means
        self._pipeline, self._warehouse = means.pipeline, means.deployment.warehouse
        self._overlap_seconds = overlap_seconds

    def questions(self) -> list[Question]:
        """Give the questions, in the order in which they have to be asked."""
        return [
            Question(
                "Does one of two attempts at the same time load, and one only?",
                self._race,
                "two coordinators cannot double a change",
                "do not load; tell the maintainers",
            ),
            Question(
                "Does a row that does not fit fail its COPY?",
                self._poison,
                "a bad file is split off and quarantined",
                "a bad file pauses its pipeline, or loads wrongly; tell the maintainers",
            ),
            Question(
                "Do load errors name the bad file?",
                self._load_errors,
                "a bad file is found at once",
                "a bad file is found by halving its batch, which takes longer; tell the maintainers",
                matters=False,
            ),
            Question(
                "Does fastetl know these failures by their texts?",
                self._texts,
                "failures are told apart: a bad file, a refusal, one that passes",
                "a failure that is not known pauses its pipeline; tell the maintainers its text",
            ),
        ]

    # --- two attempts at once --------------------------------------------------------------------------------------

    async def _race(self) -> tuple[str, bool]:
        """Hold the gate until two attempts stand at it, then let go: both go on at once."""
        forced = await self._hold_gate_until(self._stand_at_gate)
        ended = [await self._means.take("load", "race", attempt) for attempt in (1, 2)]
        logged = await self._means.count(f'{quote_table(self._pipeline, "_log")} WHERE "id" = 9')
        lost = [each for each in ended if each.state == "FAILED"]
        if logged != 1 or len(lost) != 1:
            said = ", ".join(f"{each.state} {each.error}".strip() for each in ended)
            return f"no: {said}; the log has the change {logged} times", False
        step, text = lost[0].step, lost[0].error
        how = "at once" if forced else "one after the other (this warehouse let them not overlap)"
        if not self._means.note("gate" if step == "gate_batch" else "transient", step, text) or step not in GUARDS:
            return f"one loaded, and the other failed unexpectedly: {step}: {text}", False
        return f"yes, they ran {how}; the second was refused by {GUARDS[step]}", True

    async def _hold_gate_until(self, stand: Callable[[], Awaitable[bool]]) -> bool:
        """Hold the gate's lock as a load does, until `stand` says that others wait for it; tell whether they do."""
        (lock,) = [each for each in resolve_sql(self._pipeline, "", "holder", 1, "1970-01-01") if each.step == "lock"]
        mirror = quote_table(self._pipeline)
        crossed = ", ".join(f'{mirror} AS "m{n}"' for n in range(CROSSED_TIMES))
        (wait,) = build_statements(self._means.name, [("hold", f"SELECT COUNT(*) FROM {crossed}")])
        holder = await self._warehouse.submit(
            [lock, wait], name=self._means.statement_name, token=self._means.new_token()
        )
        try:
            await self._means.look_until(lambda: self._has_begun(holder), self._overlap_seconds)
            stood = await self._means.look_until(stand, self._overlap_seconds)
            forced = stood and (await self._warehouse.describe(holder)).state == "RUNNING"
        finally:
            ended = await self._cancel(holder)
        if ended.state == "FAILED":
            self._means.note("transient", "", ended.error)
        return forced

    async def _stand_at_gate(self) -> bool:
        answers = [await self._means.look("load", "race", attempt) for attempt in (1, 2)]
        return all(each.has_begun for each in answers)

    async def _has_begun(self, statement_id: str) -> bool:
        return (await self._warehouse.describe(statement_id)).has_begun

    async def _cancel(self, statement_id: str) -> Run:
        with contextlib.suppress(WarehouseError):  # it has ended already
            await self._warehouse.cancel(statement_id)
        return await self._warehouse.describe(await self._warehouse.end(statement_id))

    # --- how failures look -----------------------------------------------------------------------------------------

    async def _poison(self) -> tuple[str, bool]:
        return await self._means.refuse("poison", 1, "copy", "data")

    async def _load_errors(self) -> tuple[str, bool]:
        key = self._means.files["poison"].key
        steps: tuple[RehearsalStep, ...] = ("errors_by_id", "errors_by_place")
        answers = [await self._means.take(step, "poison") for step in steps]
        by_id, by_place = [any(row[0].endswith(key) for row in each.rows) for each in answers]
        if by_id:
            return "yes, by the query's id" + (" and by the file's address" if by_place else " alone"), True
        if by_place:
            return "yes, by the file's address alone: ids of queries differ, as on a provisioned cluster", True
        said = [each.error or f"{len(each.rows)} rows of others" for each in answers]
        return f"no: by the query's id {said[0]}, by the file's address {said[1]}", False

    async def _texts(self) -> tuple[str, bool]:
        # The first two attempts of `short` are fenced off.
        attempts: tuple[tuple[BatchName, int, str], ...] = (("short", 3, "count"), ("absent", 1, "copy"))
        for batch, attempt, step in attempts:
            answer, is_known = await self._means.refuse(batch, attempt, step, "data")
            if not is_known:
                return answer, False
        failures = self._means.failures
        unknown = [f"{what} ({step}): {text}" for what, step, text in failures if not knows(what, step, text)]
        return (f"no: {'; '.join(unknown)}" if unknown else f"yes, all {len(failures)}"), not unknown
