"""What the questions of a rehearsal are asked with: steps by the coordinator, and looks at what they have led to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.errors import StackError
from fastetl.load import Answer, build_files, build_pipeline, classify
from fastetl.operate.rehearsal_files import compare_sql
from fastetl.sql import Statement, build_statements

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from fastetl.aws import Deployment, Token
    from fastetl.columns import Column
    from fastetl.load import BatchName, RehearsalStep
    from fastetl.model import Failure

    Invoke = Callable[[dict[str, Any]], Awaitable[Any]]

WAIT_SECONDS = 600
"""For one step, at most: a serverless warehouse that sleeps takes a while to wake up."""

POLL_SECONDS = 1.0


class Means:
    """The means of one rehearsal."""

    def __init__(self, deployment: Deployment, invoke: Invoke, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Name a rehearsal, and build its pipeline and files.

        Args:
            deployment: of the pipeline that is asked about, with the operator's credentials.
            invoke: invokes the coordinator with an event, and gives its answer.
            sleep: waits between two looks.
        """
        self.name = deployment.new_name()[:12]
        self.pipeline = build_pipeline(deployment.pipeline, self.name)
        self.deployment = msgspec.structs.replace(deployment, pipeline=self.pipeline)
        self.files = build_files(deployment.config.prefix, self.pipeline, self.name)
        self.failures: list[tuple[Failure, str, str]] = []
        """Failures that were made on purpose: what each is, its step and its text."""
        self._asked_of = deployment.pipeline.name
        self._invoke = invoke
        self._sleep = sleep

    # --- steps of the coordinator ----------------------------------------------------------------------------------

    async def take(self, step: RehearsalStep, batch: BatchName, attempt: int = 1) -> Answer:
        """Have the coordinator take a step, and wait for its end.

        Raises:
            StackError: the coordinator could not be invoked, or has not ended it in time.
        """
        answers: list[Answer] = []

        async def look() -> bool:
            answer = await self.look(step, batch, attempt)
            if answers and answers[0].statement_id != answer.statement_id:
                raise StackError(f"{step} {batch}: its client token gives other statements each time")
            answers[:] = [answer]
            return answer.state != "RUNNING"

        if not await self.look_until(look, WAIT_SECONDS):
            raise StackError(f"{step} {batch}: it still runs after {WAIT_SECONDS} s")
        return answers[0]

    async def look(self, step: RehearsalStep, batch: BatchName, attempt: int) -> Answer:
        """Have the coordinator take a step, or tell how it is."""
        asked = {
            "pipeline": self._asked_of, "name": self.name, "step": step, "batch": batch, "attempt": attempt,
        }  # fmt: skip
        return msgspec.convert(await self._invoke({"rehearse": asked}), Answer)

    async def load(self, batch: BatchName) -> str:
        """Load a batch; tell what is wrong if it does not load."""
        answer = await self.take("load", batch)
        return "" if answer.state == "FINISHED" else f"{answer.state} at {answer.step}: {answer.error}"

    async def refuse(self, batch: BatchName, attempt: int, step: str, what: Failure) -> tuple[str, bool]:
        """Make an attempt that has to fail at this step, and to be known as this failure."""
        answer = await self.take("load", batch, attempt)
        if answer.state != "FAILED":
            return f"no, it is {answer.state}", False
        said = f"{answer.step}: {answer.error}"
        if answer.step != step:
            return f"it fails elsewhere: {said}", False
        return f"yes, {said}", self.note(what, answer.step, answer.error)

    def note(self, what: Failure, step: str, text: str) -> bool:
        """Keep a failure that was made on purpose; tell whether it is known for what it is."""
        self.failures.append((what, step, text))
        return knows(what, step, text)

    async def look_until(self, look: Callable[[], Awaitable[bool]], seconds: float) -> bool:
        """Look again and again until it is so; tell whether it is, or time was up."""
        end = self.deployment.clock() + seconds
        while not await look():
            if self.deployment.clock() >= end:
                return False
            await self._sleep(POLL_SECONDS)
        return True

    # --- what the operator sees ------------------------------------------------------------------------------------

    async def differing(self, number: int, columns: Sequence[Column], *, null: bool = False) -> list[str]:
        """Name the columns of a row that do not hold what they should."""
        rows = await self._rows(compare_sql(self.pipeline, number, columns, null=null))
        if len(rows) != 1:
            return [f"there are {len(rows)} rows {number}"]
        wrong = [column.name for column, flag in zip(columns, rows[0], strict=True) if flag != "true"]
        return [f"row {number} has {'a value' if null else 'another value'} in {', '.join(wrong)}"] if wrong else []

    async def count(self, rows: str) -> int:
        """Count rows: a table, and perhaps a condition."""
        ((count,),) = await self._rows(f"SELECT COUNT(*) FROM {rows}")
        return int(count)

    async def _rows(self, sql: str) -> list[tuple[str, ...]]:
        return await self.deployment.warehouse.rows(await self.run(build_statements(self.name, [("look", sql)])), 0)

    async def run(self, statements: Iterable[Statement]) -> str:
        """Run statements as the operator; give their id."""
        return await self.deployment.warehouse.run(list(statements), name=self.statement_name, token=self.new_token())

    @property
    def statement_name(self) -> str:
        """Of the operator's statements."""
        return f"fastetl/verify/{self.name}"

    def new_token(self) -> Token:
        """Tell a request of the operator's from every other."""
        return ("verify", self.deployment.new_name())


def knows(what: Failure, step: str, text: str) -> bool:
    """Tell whether loads take a failure for what it is."""
    return classify(step, text, named=False) == what
