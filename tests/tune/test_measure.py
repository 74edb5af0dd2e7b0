"""The real function in the real runtime client: what it takes is measured, what it answers to is checked."""

import asyncio
import re
from pathlib import Path

import pytest

from fastetl.config.reading import parse_config
from fastetl.tune.calibrate import read_invocations
from fastetl.tune.measure import Bench, MeasuringError, measure_pipeline, shape_event, with_compression
from fastetl.tune.model import Measured, Sample
from fastetl.tune.records import EventCutter, make_up_items, records_of_items

CONFIG = """
[[pipelines]]
name = "orders"
table = "orders"
keys = ["id"]
target = "public.orders"
columns = [{ name = "id", type = "VARCHAR(36)" }, { name = "amount", type = "DECIMAL(18,2)" }]
"""
# CSV is written natively: an expression is what needs Polars's threads.
COMPUTING = (
    CONFIG
    + """
[[pipelines.enrichments]]
kind = "expression"
sql = "amount * 100"
outputs = [{ name = "cents", type = "DECIMAL(20,2)" }]
"""
)
STAND_INS = {"FASTETL_BUCKET": "lake", "FASTETL_LEDGER_TABLE": "ledger", "FASTETL_REDSHIFT_WORKGROUP": "wg"}


def test_the_real_function_is_measured(monkeypatch):
    monkeypatch.setenv("POLARS_MAX_THREADS", "7")  # of the machine, not of the function
    (pipeline,) = parse_config(CONFIG, STAND_INS).pipelines
    records = records_of_items(pipeline, make_up_items(pipeline, 100))
    told = []

    async def run():
        for memory_mb, threads in ((2 * 1769, 2), (1769, 1)):
            async with Bench(COMPUTING, memory_mb=memory_mb) as bench:
                await bench.warm_up(shape_event(pipeline, EventCutter(pipeline, records).cut(7)))
                assert polars_threads(bench) == threads, "one for each CPU that the function has"
        async with Bench(CONFIG) as bench:
            found = await measure_pipeline(
                bench, pipeline, records, lambda what, done: told.append((what, done)), (5, 50)
            )
            event = shape_event(pipeline, EventCutter(pipeline, records).cut(7))
            lines = (await bench.invoke(event)).result.log
            with pytest.raises(MeasuringError, match="no pipeline reads"):
                await bench.invoke(event.replace(b":table/orders/", b":table/others/"))
            return found, lines

    measured, lines = asyncio.run(run())
    assert [sample.records for sample in measured.samples] == [5, 50]
    small, large = measured.samples
    assert 0 < small.file_bytes < large.file_bytes
    assert 0 < small.event_bytes < large.event_bytes
    assert 0 < small.memory_mb <= large.memory_mb
    assert small.cpu_seconds > 0
    assert measured.init_seconds > 0
    assert [what for what, _ in told] == ["5 records", "50 records"]
    (invocation,) = read_invocations(lines)
    assert invocation.records == 7
    plain = with_compression(measured, pipeline, records, "none", lambda: 0.0)
    assert all(one.file_bytes > two.file_bytes for one, two in zip(plain.samples, measured.samples, strict=True))


def polars_threads(bench: Bench) -> int:
    (pid,) = bench.pids
    names = [(task / "comm").read_text().strip() for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(re.fullmatch(r"polars-\d+", name) is not None for name in names)


def test_records_that_come_again_make_no_file_smaller():
    (pipeline,) = parse_config(CONFIG, STAND_INS).pipelines
    records = records_of_items(pipeline, make_up_items(pipeline, 50))
    samples = tuple(Sample(size, 500 * size, 100 * size, 0.1, 0.1, 100.0) for size in (10, 50, 2000))
    zstd = with_compression(Measured("gzip", samples, 1.0), pipeline, records, "zstd", lambda: 0.0)
    small, whole, repeated = (sample.file_bytes / sample.records for sample in zstd.samples)
    assert small >= whole
    assert repeated == pytest.approx(whole, rel=0.01)
