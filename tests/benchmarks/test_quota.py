"""The instrument behind `benchmarks.tune_checks quota`: a quota is in force, and the model is held against it."""

import asyncio
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
from benchmarks.cpu_quota import QuotaError, cpu_quota
from benchmarks.quota_check import check_quota

from benchmarks import cpu_quota as instrument
from fastetl.config.reading import parse_config
from fastetl.tune.calibrate import build_calibration, read_invocations
from fastetl.tune.measure import Bench, measure_pipeline, shape_event
from fastetl.tune.model import duration, init_duration
from fastetl.tune.prices import Constants
from fastetl.tune.records import EventCutter, make_up_items, records_of_items
from tests.tune.test_measure import CONFIG, STAND_INS

RECORDS, TURNS = 200, 7

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
    monkeypatch.setattr(instrument, "_VERSION_1", tmp_path / "none")
    monkeypatch.setattr(instrument, "_VERSION_2", tmp_path / "none")
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


def test_a_function_under_a_quota_is_calibrated_by_its_own_log():
    """REPORT lines hold what was measured, so that the corrected model must give just that."""
    (pipeline,) = parse_config(CONFIG, STAND_INS).pipelines
    records = records_of_items(pipeline, make_up_items(pipeline, 100))
    cutter = EventCutter(pipeline, records)

    async def run(wrapper):
        async with Bench(CONFIG) as bench:
            measured = await measure_pipeline(bench, pipeline, records, lambda *_: None, (50, 400))
        async with Bench(CONFIG, memory_mb=884, wrapper=wrapper) as bench:
            results = [
                (await bench.invoke(shape_event(pipeline, cutter.cut(RECORDS)))).result for _ in range(TURNS + 1)
            ]
        return measured, results

    try:
        with cpu_quota(0.5) as wrapper:
            measured, results = asyncio.run(run(wrapper))
    except QuotaError as error:
        pytest.skip(f"no function under a quota here: {error}")
    invocations = read_invocations([line for result in results for line in result.log])
    assert [each.records for each in invocations] == [RECORDS] * (TURNS + 1)
    assert {each.memory_mb for each in invocations} == {884}

    # Waiting for moto counts as computing: what it takes is not known beforehand.
    constants = Constants(s3_put_seconds=0, ledger_seconds=0, s3_bytes_per_second=float("inf"))
    found = build_calibration(measured, invocations, constants)
    assert (found.invocations, found.starts) == (TURNS, 1)
    first, *later = (result.report for result in results)
    assert found.duration_seconds.real == pytest.approx(median(one.duration_ms for one in later) / 1000, abs=1e-5)
    assert found.memory_mb.real == median(one.max_memory_used_mb for one in later)
    assert found.init_seconds.real == pytest.approx(first.init_duration_ms / 1000, abs=1e-5)
    assert found.billed_seconds.real == pytest.approx(
        sum(one.billed_duration_ms for one in (first, *later)) / 1000, abs=1e-5
    )

    corrected = found.correct(constants)
    sample = measured.at(RECORDS)
    assert duration(sample, 884, corrected) == pytest.approx(found.duration_seconds.real)
    assert init_duration(measured, 884, corrected) == pytest.approx(found.init_seconds.real)
    assert sample.memory_mb + corrected.more_memory_mb == pytest.approx(found.memory_mb.real)
