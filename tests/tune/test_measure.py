"""The real function in the real runtime client: what it takes is measured, what it answers to is checked."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastetl.config.reading import parse_config
from fastetl.tune import quota
from fastetl.tune.calibrate import read_invocations
from fastetl.tune.measure import Bench, MeasuringError, measure, shape_event, with_compression
from fastetl.tune.model import Measured, Sample
from fastetl.tune.prices import Constants
from fastetl.tune.quota import QuotaError, cpu_quota
from fastetl.tune.quota_check import check_quota
from fastetl.tune.records import EventCutter, make_up_items, records_of_items

CONFIG = """
[[pipelines]]
name = "orders"
table = "orders"
keys = ["id"]
target = "public.orders"
columns = [{ name = "id", type = "VARCHAR(36)" }, { name = "amount", type = "DECIMAL(18,2)" }]
"""
STAND_INS = {"FASTETL_BUCKET": "lake", "FASTETL_LEDGER_TABLE": "ledger", "FASTETL_REDSHIFT_WORKGROUP": "wg"}


def test_the_real_function_is_measured(monkeypatch):
    monkeypatch.setenv("POLARS_MAX_THREADS", "7")  # of the machine, not of the function
    (pipeline,) = parse_config(CONFIG, STAND_INS).pipelines
    records = records_of_items(pipeline, make_up_items(pipeline, 100))
    told = []

    async def run():
        async with Bench(CONFIG, memory_mb=2 * 1769) as bench:
            await bench.warm_up(shape_event(pipeline, EventCutter(pipeline, records).cut(7)))
            assert polars_threads(bench) == 2
        async with Bench(CONFIG) as bench:
            found = await measure(bench, pipeline, records, lambda what, done: told.append((what, done)), (5, 50))
            event = shape_event(pipeline, EventCutter(pipeline, records).cut(7))
            lines = (await bench.invoke(event)).result.log
            with pytest.raises(MeasuringError, match="no pipeline reads"):
                await bench.invoke(event.replace(b":table/orders/", b":table/others/"))
            assert polars_threads(bench) == 1, "what one CPU does is measured with one thread"
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


BURN = """
import time
begin = time.perf_counter()
while time.process_time() < 0.3:
    pass
print(time.perf_counter() - begin)
"""


def test_a_quota_is_in_force():
    try:
        with cpu_quota(0.25) as wrapper:
            burnt = subprocess.run([*wrapper, sys.executable, "-c", BURN], capture_output=True, text=True, check=True)
            group = Path(wrapper[2].partition("> ")[2].partition("/cgroup.procs")[0])
            throttled = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())["nr_throttled"]
    except QuotaError as error:
        pytest.skip(str(error))
    # However fast the machine is: 5 ms in each 20, the first of them at once.
    assert float(burnt.stdout) > 0.3 / 0.25 - 0.2
    assert int(throttled) > 30
    assert not group.exists()


def test_a_machine_without_control_groups_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(quota, "_VERSION_1", tmp_path / "none")
    monkeypatch.setattr(quota, "_VERSION_2", tmp_path / "none")
    with pytest.raises(QuotaError, match="cannot be made at"), cpu_quota(0.5):
        pass


def test_what_fails_under_a_quota_is_not_called_its_refusal():
    try:
        with cpu_quota(0.5):
            pass
    except QuotaError as error:
        pytest.skip(str(error))
    with pytest.raises(FileNotFoundError), cpu_quota(0.5):
        Path("/nowhere/at/all").read_text()


def test_the_model_is_held_against_quotas():
    (pipeline,) = parse_config(CONFIG, STAND_INS).pipelines
    records = records_of_items(pipeline, make_up_items(pipeline, 100))
    told = []
    checking = check_quota(
        CONFIG, pipeline, records, Constants(), lambda what, _: told.append(what), sizes=(50,), turns=3
    )
    try:
        found = asyncio.run(checking)
    except QuotaError as error:
        pytest.skip(str(error))
    assert [(one.records, one.share) for one in found] == [(50, 1.0), (50, 0.5), (50, 0.25)]
    whole, half, quarter = found
    assert whole.cpu_seconds <= whole.predicted_seconds <= half.predicted_seconds < quarter.predicted_seconds
    assert all(one.measured_seconds > 0 for one in found)
    assert told == ["50 records under CPU quotas"]


def test_records_that_come_again_make_no_file_smaller():
    (pipeline,) = parse_config(CONFIG, STAND_INS).pipelines
    records = records_of_items(pipeline, make_up_items(pipeline, 50))
    samples = tuple(Sample(size, 500 * size, 100 * size, 0.1, 0.1, 100.0) for size in (10, 50, 2000))
    zstd = with_compression(Measured("gzip", samples, 1.0), pipeline, records, "zstd", lambda: 0.0)
    small, whole, repeated = (sample.file_bytes / sample.records for sample in zstd.samples)
    assert small >= whole
    assert repeated == pytest.approx(whole, rel=0.01)
