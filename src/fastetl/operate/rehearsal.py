"""Rehearse the first day on a real account: the statements of loads, by the coordinator itself, in a throw-away schema.

The operator makes and drops the schema, writes the files and compares what was loaded. Each step of a load is taken by
the coordinator function, on a test event: with its role, its database user and its rights. Nothing is left behind,
whatever fails, and also when the rehearsal is interrupted.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from fastetl import keys
from fastetl.errors import FastetlError, WarehouseError
from fastetl.load import build_layouts, folder_key
from fastetl.operate.questions import Question, Verdict, ask_each
from fastetl.operate.rehearsal_alarm import AlarmArrives
from fastetl.operate.rehearsal_failures import Failures
from fastetl.operate.rehearsal_files import build_body
from fastetl.operate.rehearsal_loads import Loads
from fastetl.operate.rehearsal_means import Means
from fastetl.operate.schema_writer import SchemaWriter
from fastetl.sql import build_statements, quote_identifier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastetl.aws import Alarm, Deployment
    from fastetl.operate.rehearsal_means import Invoke

OVERLAP_SECONDS = 60
"""For two attempts to stand at the gate, at most."""


class Rehearsal:
    """One rehearsal on one pipeline's warehouse."""

    def __init__(
        self,
        deployment: Deployment,
        invoke: Invoke,
        alarm: Alarm,
        *,
        words: tuple[str, ...] = ("",),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        overlap_seconds: float = OVERLAP_SECONDS,
    ) -> None:
        """Describe a rehearsal.

        Args:
            deployment: of the pipeline, with the operator's credentials.
            invoke: invokes the coordinator with an event, and gives its answer.
            alarm: of the stack, which is set by hand.
            words: only the questions that have one of these in their text.
            sleep: waits between two looks.
            overlap_seconds: for two attempts to stand at the gate, at most.
        """
        self._means = Means(deployment, invoke, sleep)
        self._alarm = alarm
        self._words = words
        self._overlap_seconds = overlap_seconds

    @property
    def name(self) -> str:
        """Of the rehearsal; schema and objects have it in theirs."""
        return self._means.name

    async def rehearse(self) -> list[Verdict]:
        """Ask everything, and remove everything.

        Raises:
            StorageError: the files could not be made.
            WarehouseError: the schema could not be made, or not be removed after something else had failed.
        """
        try:
            unmade = await self._prepare()
            verdicts = await ask_each(each for each in self._questions(unmade) if self._is_wanted(each))
        except BaseException as error:
            if left := await self._remove():
                raise WarehouseError(f"not removed: {'; '.join(left)}") from error
            raise
        left = await self._remove()
        question, schema = "Is everything removed?", self._means.pipeline.schema
        follows = "drop the schema and delete the objects by hand" if left else "nothing of it stays"
        answer = "; ".join(left) or f"yes: the schema {schema}, and the objects"
        return [*verdicts, Verdict(question, answer, follows, as_expected=not left, matters=True)]

    def _questions(self, unmade: list[str]) -> list[Question]:
        loads, failures = Loads(self._means, unmade), Failures(self._means, self._overlap_seconds)
        alarm = AlarmArrives(self._means, self._alarm)
        return [*loads.questions(), *failures.questions(), *loads.last_questions(), *alarm.questions()]

    def _is_wanted(self, question: Question) -> bool:
        return any(word in question.text for word in self._words)

    async def _prepare(self) -> list[str]:
        """Make the schema, its tables and the files; tell what of tables and grants could not be made."""
        means, prefix = self._means, self._means.deployment.config.prefix
        unmade = (await SchemaWriter(means.deployment).apply()).problems
        layouts, bucket = build_layouts(means.pipeline), means.deployment.bucket
        for file, item in means.files.items():
            layout = layouts[file]
            key = keys.layout_key(prefix, means.pipeline.name, layout.layout_id)
            await bucket.replace(key, msgspec.json.encode(layout))
            if file != "absent":
                await bucket.replace(item.key, build_body(means.pipeline, file, item.file_id, layout))
        return unmade

    async def _remove(self) -> list[str]:
        """Drop the schema and delete the objects; tell what could not be."""
        left, pipeline = [], self._means.pipeline
        prefix, bucket = self._means.deployment.config.prefix, self._means.deployment.bucket
        drop = f"DROP SCHEMA IF EXISTS {quote_identifier(pipeline.schema)} CASCADE"
        try:
            await self._means.run(build_statements(self.name, [("drop", drop)]))
        except FastetlError as error:
            left.append(f"schema {pipeline.schema}: {error}")
        for folder in (
            folder_key(prefix, self.name),
            keys.layouts_prefix(prefix, pipeline.name),
            keys.manifests_prefix(prefix, pipeline.name),
        ):
            try:
                for key in [key async for key in bucket.list_keys(folder)]:
                    await bucket.delete(key)
            except FastetlError as error:
                left.append(f"objects below {folder}: {error}")
        return left
