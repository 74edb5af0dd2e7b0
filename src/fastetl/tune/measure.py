"""Measure what an invocation takes: the real ingest function in the real Lambda runtime client.

S3 and DynamoDB are moto's server in another process: what it takes is in no figure but wall-clock time, which only
tells how long this machine made the function wait.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median, quantiles
from types import TracebackType
from typing import Any, Self

import msgspec

from fastetl.config import Config, Pipeline, parse_config
from fastetl.decode import Decoder
from fastetl.errors import FastetlError
from fastetl.ingest import encode_frames
from fastetl.limits import MAX_PAYLOAD_BYTES
from fastetl.local.functions import Function, FunctionSettings, InvokeResult, build_kinesis_event
from fastetl.local.moto_process import MotoProcess
from fastetl.tune.model import Measured, Sample
from fastetl.tune.records import EventCutter, Record

BATCH_SIZES = (1, 10, 100, 500, 1000, 2500, 5000, 10_000)
LEAST_SECONDS = 0.5
"""Of CPU time that each batch size is measured for, so that short invocations are repeated more often."""
LEAST_REPEATS, MOST_REPEATS = 5, 60

STAND_INS = {"FASTETL_BUCKET": "bucket", "FASTETL_LEDGER_TABLE": "ledger", "FASTETL_REDSHIFT_WORKGROUP": "workgroup"}
_OWN = ("AWS_", "FASTETL_", "LAMBDA_", "POLARS_", "POWERTOOLS_")
"""Variables of this process that the function does not inherit: on Lambda it would not find them either."""
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": "us-east-1",
}

Progress = Callable[[str, float], None]
"""Told what is being measured, and which share of it all is done."""


class MeasuringError(FastetlError):
    """The function does not do what is to be measured; the message says what it answered."""


class Invocation(msgspec.Struct, frozen=True):
    """One run of the handler."""

    result: InvokeResult
    cpu_seconds: float


class Bench:
    """The ingest function on this machine, ready to be invoked.

    ```
    async with Bench(config_text) as bench:
        invocation = await bench.invoke(event)
    ```
    """

    def __init__(
        self,
        config_text: str,
        *,
        root: Path = Path(),
        memory_mb: int = 1769,
        wrapper: tuple[str, ...] = (),
        variables: dict[str, str] | None = None,
    ) -> None:
        """Describe it.

        Args:
            config_text: `fastetl.toml`.
            root: the folder that its relative paths and functions are in.
            memory_mb: what the function is told that it has, and what it chooses its threads by; not enforced. The
                default is one CPU's, so that CPU time is that of one thread.
            wrapper: runs the interpreter, as under a CPU quota.
            variables: more environment variables of the function.
        """
        self._config_text = config_text
        self._root = root.absolute()
        self._memory_mb = memory_mb
        self._wrapper = wrapper
        self._variables = variables or {}
        self._stack = AsyncExitStack()
        self.config: Config = parse_config(config_text, {**os.environ, **STAND_INS})
        self.init_cpu_seconds = 0.0

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="fastetl-tune-")))
        moto = MotoProcess()
        self._stack.push_async_callback(moto.stop)
        await moto.start()
        await moto.create_bucket_and_ledger(self.config)
        path = directory / "fastetl.toml"
        path.write_text(self._config_text, encoding="utf-8")
        # Enrichments find their secrets in the user's variables; AWS is the bench's own stand-in.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}
        python_path = os.pathsep.join([str(self._root), *(path for path in sys.path if path)])
        environment = {
            **inherited, **_CREDENTIALS, **STAND_INS, "AWS_ENDPOINT_URL": moto.endpoint_url, "PYTHONPATH": python_path,
            "FASTETL_CONFIG": str(path), "LAMBDA_TASK_ROOT": str(self._root), **self._variables,
        }  # fmt: skip
        settings = FunctionSettings(
            "ingest", "fastetl.lambdas.ingest.handler", environment,
            memory_mb=self._memory_mb, concurrency=1, wrapper=self._wrapper,
        )  # fmt: skip
        self._function = Function(settings)
        self._stack.push_async_callback(self._function.close)

    async def invoke(self, event: bytes) -> Invocation:
        """Run the handler once.

        Args:
            event: as JSON.

        Raises:
            MeasuringError: it failed.
        """
        before = self._cpu_seconds()
        result = await self._function.invoke(event)
        if result.error:
            raise MeasuringError(_read_message(result))
        return Invocation(result, self._cpu_seconds() - before)

    async def warm_up(self, event: bytes) -> None:
        """Start the function and run it once, so that what happens only once is over.

        Args:
            event: as JSON.
        """
        first = await self.invoke(event)
        second = await self.invoke(event)
        self.init_cpu_seconds = max(0.0, first.cpu_seconds - second.cpu_seconds)

    @property
    def pids(self) -> tuple[int, ...]:
        """The function's process, once it has been invoked."""
        return self._function.pids

    def _cpu_seconds(self) -> float:
        return sum(read_cpu_seconds(pid) for pid in self.pids)


def _read_message(result: InvokeResult) -> str:
    """Say what the function answered, without its trace."""
    try:
        return f"{result.error}: {msgspec.json.decode(result.payload)['errorMessage']}"
    except (msgspec.DecodeError, KeyError, TypeError):
        return result.error


async def measure_pipeline(
    bench: Bench, pipeline: Pipeline, records: Sequence[Record], progress: Progress, sizes: Sequence[int] = BATCH_SIZES
) -> Measured:
    """Measure a pipeline as it is configured, at every batch size that an event has room for.

    Args:
        bench: an open one.
        pipeline: that the bench runs.
        records: to make events of.
        progress: told what is measured, and which share is done.
        sizes: of batches, in records.

    Raises:
        MeasuringError: the function failed.
    """
    cutter = EventCutter(pipeline, records)
    probe = shape_event(pipeline, cutter.cut(len(records)))
    most = int(MAX_PAYLOAD_BYTES * 0.97 * len(records) / len(probe))
    fitting = sorted({size for size in sizes if size <= most} | {max(2, min(most, max(sizes)))})
    samples = []
    await bench.warm_up(shape_event(pipeline, cutter.cut(fitting[0])))
    for number, size in enumerate(fitting):
        progress(f"{size:,} records", number / len(fitting))
        samples.append(await _measure_size(bench, pipeline, cutter, size))
    return Measured(pipeline.file.compression, _without_repetition(samples, len(records)), bench.init_cpu_seconds)


async def _measure_size(bench: Bench, pipeline: Pipeline, cutter: EventCutter, size: int) -> Sample:
    await bench.invoke(shape_event(pipeline, cutter.cut(size)))
    taken: list[Invocation] = []
    event = b""
    while len(taken) < MOST_REPEATS and (
        len(taken) < LEAST_REPEATS or sum(one.cpu_seconds for one in taken) < LEAST_SECONDS
    ):
        event = shape_event(pipeline, cutter.cut(size))
        taken.append(await bench.invoke(event))
    cpu = [one.cpu_seconds for one in taken]
    lower, middle, upper = quantiles(cpu, n=4)
    written = [record["bytes"] for one in taken for record in one.result.records if record.get("message") == "ingested"]
    return Sample(
        records=size,
        event_bytes=len(event),
        file_bytes=round(median(written)),
        cpu_seconds=middle,
        wall_seconds=median(one.result.report.duration_ms for one in taken) / 1000,
        memory_mb=taken[-1].result.report.max_memory_used_mb,
        spread=(upper - lower) / middle if middle else 0.0,
    )


def with_compression(
    measured: Measured, pipeline: Pipeline, records: Sequence[Record], compression: Any, clock: Callable[[], float]
) -> Measured:
    """Give what was measured as it would be with another compression, whose CPU time and bytes are measured here.

    Args:
        measured: of the pipeline as it is configured.
        pipeline: its layout.
        records: that it was measured with.
        compression: the other one.
        clock: gives the CPU time of this process in seconds.
    """
    cutter = EventCutter(pipeline, records)
    decoder = Decoder(pipeline)
    samples = []
    for sample in measured.samples:
        frame = decoder.decode(cutter.cut(sample.records)).frame
        # With several targets a file has fewer columns than are decoded; the ratio is much the same.
        declared = pipeline.columns if pipeline.parts else ()
        known = dict(pipeline.layout.columns) | {column.name: column.type for column in declared}
        columns = tuple((name, kind) for name, kind in known.items() if name in frame.columns)
        taken = {}
        for one in (pipeline.file.compression, compression):
            layout = msgspec.structs.replace(pipeline.layout, columns=columns, compression=one)
            times, size = [], 0
            for _ in range(LEAST_REPEATS):
                begin = clock()
                size = sum(map(len, encode_frames([frame], layout, pipeline.file.part_size_bytes)))
                times.append(clock() - begin)
            taken[one] = (median(times), size)
        (was, old), (seconds, size) = taken[pipeline.file.compression], taken[compression]
        samples.append(
            msgspec.structs.replace(
                sample,
                cpu_seconds=max(0.0, sample.cpu_seconds + seconds - was),
                file_bytes=round(sample.file_bytes * size / old) if old else size,
            )
        )
    return msgspec.structs.replace(
        measured, compression=compression, samples=_without_repetition(samples, len(records))
    )


def _without_repetition(samples: Sequence[Sample], distinct: int) -> tuple[Sample, ...]:
    """Correct bytes for records that are used again, which compress better: beyond them, bytes grow in proportion."""
    honest = [sample for sample in samples if sample.records <= distinct] or samples[:1]
    per_record = honest[-1].file_bytes / honest[-1].records
    return tuple(
        sample if sample in honest else msgspec.structs.replace(sample, file_bytes=round(per_record * sample.records))
        for sample in samples
    )


def shape_event(pipeline: Pipeline, event: bytes) -> bytes:
    """Give an event as the pipeline's source hands it over."""
    return event if pipeline.source == "stream" else build_kinesis_event(event, pipeline.stream_arn)


def read_cpu_seconds(pid: int) -> float:
    """Read the CPU time that a process and its threads have used, in seconds, to the nanosecond."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return total / 1e9
