"""The ingest function in the real Lambda runtime client, bytes over HTTP to reply: CPU, memory; and its cold start.

CPU is that of the function's process alone: moto's server and the runtime's other end are other processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks import baseline
from benchmarks.events import STREAM_ARN, build_flat, build_nested, build_tiny
from fastetl.tune.measure import Bench

TURNS = 15
RECORDS = 4_000
FEW_RECORDS = (1, 100, 1_000)
MEMORY_SHAPES = {"flat": (build_flat, 5_700), "nested": (build_nested, 3_600), "tiny": (build_tiny, 10_000)}
"""Nearly the 6 MB that Lambda hands over at most, or the 10,000 records."""
HOOKS = ("with the hook", "without", baseline.COMMIT)
"""The last: an earlier commit, with the hook."""
LIMIT_BYTES = 256 * 2**20
MEMORY_CONTROL = Path("/sys/fs/cgroup/memory")
WITHOUT_HOOK = "import fastetl.lambdas.raw_events as raw_events\nraw_events.install_raw_events = lambda: False\n"
STARTS = {
    "polars, aioboto3 and an S3 client": (
        "import asyncio, polars, aioboto3\n"
        "asyncio.Runner().run(aioboto3.Session().client('s3').__aenter__())"
    ),
    "ingest": "import fastetl.lambdas.ingest",
    "coordinator": "import fastetl.lambdas.coordinator",
}  # fmt: skip
VARIABLES = {
    "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1",
    "FASTETL_BUCKET": "bucket", "FASTETL_LEDGER_TABLE": "ledger", "FASTETL_REDSHIFT_WORKGROUP": "workgroup",
}  # fmt: skip


def config_text(build=build_flat, stream_arn=STREAM_ARN):
    """Write a shape's pipeline as a configuration; the events are of another account and region than the function."""
    columns = ",\n  ".join(
        f'{{ name = "{column.name}", type = "{column.type}" }}' for column in build(1).pipeline.columns
    )
    head = '[[pipelines]]\nname = "orders"\ntable = "orders"\nkeys = ["id"]\ntarget = "public.orders"'
    head += f'\nstream_arn = "{stream_arn}"' if stream_arn else ""
    return f"{head}\ncolumns = [\n  {columns},\n]\n"


class Events:
    """The same changes again and again, each time as other events."""

    def __init__(self, records, build=build_flat):
        self._event = build(records).event
        self._number = 0

    def next(self):
        """Give an event of which no file is there yet."""
        self._number += 1
        return self._event.replace(b'"eventID":"00000000', b'"eventID":"%08x' % self._number)


@pytest.fixture(scope="module")
def runner():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def benches(runner, tmp_path_factory):
    folder = tmp_path_factory.mktemp("without")
    (folder / "sitecustomize.py").write_text(WITHOUT_HOOK)
    path = os.pathsep.join([str(folder), *(path for path in sys.path if path)])
    opened = {"with the hook": Bench(config_text()), "without": Bench(config_text(), variables={"PYTHONPATH": path})}
    commit = tmp_path_factory.mktemp("commit")
    if baseline.unpack(commit):
        # It takes an event of any account, and no stream_arn.
        opened[baseline.COMMIT] = Bench(
            config_text(stream_arn=""), variables={"PYTHONPATH": baseline.build_path(commit)}
        )

    async def start():
        for bench in opened.values():
            await bench.__aenter__()
            await bench.warm_up(Events(10).next())

    runner.run(start())
    yield opened
    for bench in opened.values():
        runner.run(bench.__aexit__(None, None, None))


EVENTS = Events(RECORDS)
FEW = {records: Events(records) for records in FEW_RECORDS}


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("turn", range(TURNS))
def test_invocation(benchmark, runner, benches, turn, hook):
    if hook not in benches:
        pytest.skip(f"this clone has no commit {baseline.COMMIT}")
    taken = []

    def run():
        taken.append(runner.run(benches[hook].invoke(EVENTS.next())))

    benchmark.pedantic(run, rounds=2, warmup_rounds=turn == 0)
    ingested = next(record for record in taken[-1].result.records if record.get("message") == "ingested")
    assert ingested["Rows"] == RECORDS
    benchmark.extra_info.update(
        cpu=[one.cpu_seconds for one in taken[-2:]],
        wall=[one.result.report.duration_ms / 1000 for one in taken[-2:]],
    )


@pytest.mark.parametrize("records", FEW_RECORDS)
@pytest.mark.parametrize("turn", range(TURNS))
def test_few_records(benchmark, runner, benches, turn, records):
    """What an invocation takes beside its records: requests, signatures, logs and metrics."""
    taken = []

    def run():
        taken.append(runner.run(benches["with the hook"].invoke(FEW[records].next())))

    benchmark.pedantic(run, rounds=5, warmup_rounds=turn == 0)
    benchmark.extra_info.update(cpu=[one.cpu_seconds for one in taken[-5:]])


def read_status(pid, name):
    """Read a line of a process's status, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def forget_peak(pid):
    """Have the kernel measure a process's peak again."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@pytest.mark.parametrize("shape", MEMORY_SHAPES)
def test_memory(benchmark, runner, shape):
    build, records = MEMORY_SHAPES[shape]
    small, large = Events(200, build), Events(records, build)

    async def measure():
        async with Bench(config_text(build)) as bench:
            await bench.warm_up(small.next())
            (pid,) = bench._function.pids
            idle = read_status(pid, "VmRSS")
            growth = []
            for _ in range(5):
                event = large.next()
                forget_peak(pid)
                await bench.invoke(event)
                growth.append(read_status(pid, "VmHWM") - idle)
            return idle, growth, len(event)

    idle, growth, payload = benchmark.pedantic(lambda: runner.run(measure()), rounds=1)
    benchmark.extra_info.update(shape=shape, idle=idle, growth=growth, payload=payload)


def test_little_memory(benchmark, runner):
    """Run in as much memory as Lambda's 256 MB, with all that the process has."""
    group = MEMORY_CONTROL / f"fastetl-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
    except OSError as error:
        pytest.skip(f"no control group for memory: {error}")
    wrapper = ("/bin/sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")

    async def measure():
        async with Bench(config_text(), wrapper=wrapper) as bench:
            events = Events(MEMORY_SHAPES["flat"][1])
            for _ in range(20):
                await bench.invoke(events.next())
            (pid,) = bench._function.pids
            return read_status(pid, "VmHWM")

    try:
        peak = benchmark.pedantic(lambda: runner.run(measure()), rounds=1)
        refused = int((group / "memory.failcnt").read_text())
        benchmark.extra_info.update(invocations=20, peak=peak, limit=LIMIT_BYTES, refused=refused)
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


@pytest.fixture
def environment(tmp_path):
    (tmp_path / "fastetl.toml").write_text(config_text())
    path = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, **VARIABLES, "LAMBDA_TASK_ROOT": str(tmp_path), "PYTHONPATH": path}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("turn", range(TURNS))
def test_cold_start(benchmark, environment, turn, start):
    cpu = []

    def run():
        # The runtime client is there before any function is.
        program = f"import awslambdaric.bootstrap\n{STARTS[start]}\nimport os; os._exit(0)"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", program], env=environment, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    benchmark.pedantic(run, rounds=1, warmup_rounds=turn == 0)
    benchmark.extra_info.update(cpu=cpu[-1:])


@pytest.mark.parametrize("root", ["ingest", "backfill", "coordinator"])
def test_imports(benchmark, environment, root):
    """Where the imports of a cold start go, by the package: each module's own time, as the interpreter tells it."""

    def run():
        command = [sys.executable, "-X", "importtime", "-c", f"import fastetl.lambdas.{root}"]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stderr

    microseconds: dict[str, int] = defaultdict(int)
    for line in benchmark.pedantic(run, rounds=1, warmup_rounds=1).splitlines():
        if line.startswith("import time:") and (own := line.split(":")[1].split("|")[0].strip()).isdecimal():
            package = line.rpartition("|")[2].strip().partition(".")[0]
            microseconds["the standard library" if package in sys.stdlib_module_names else package] += int(own)
    benchmark.extra_info.update(root=root, microseconds=microseconds)
