"""From a function's log to corrections of the model."""

import asyncio
import json
from statistics import median

import pytest

from fastetl.config.reading import parse_config
from fastetl.local.functions.lambda_runtime import Report
from fastetl.tune.calibrate import LEAST, calibrate, read_invocations
from fastetl.tune.measure import Bench, measure, shape_event
from fastetl.tune.model import duration, init_duration, shrink, stretch
from fastetl.tune.prices import Constants
from fastetl.tune.quota import QuotaError, cpu_quota
from fastetl.tune.records import EventCutter, make_up_items, records_of_items
from tests.tune.test_day import MEASURED
from tests.tune.test_measure import CONFIG, STAND_INS

RECORDS, TURNS = 200, 7


def ingested(request: str, records: int) -> str:
    return f'{{"message":"ingested","function_request_id":"{request}","Records":{records}}}'


def json_report(request: str, seconds: float, memory_mb: int = 1769, init_ms: float | None = None) -> str:
    metrics = {
        "durationMs": seconds * 1000,
        "billedDurationMs": round(seconds * 1000 + (init_ms or 0)),
        "memorySizeMB": memory_mb,
        "maxMemoryUsedMB": 150,
    }
    metrics |= {"initDurationMs": init_ms} if init_ms is not None else {}
    record = {"requestId": request, "metrics": metrics, "status": "success"}
    return json.dumps({"time": "2026-11-01T10:00:00.000Z", "type": "platform.report", "record": record})


@pytest.mark.parametrize(
    "report",
    [
        lambda request, seconds, init_ms: str(Report(request, seconds * 1000, 1769, 150, init_ms)),
        lambda request, seconds, init_ms: json_report(request, seconds, 1769, init_ms),
    ],
    ids=["text", "json"],
)
def test_reports_are_joined_with_what_was_ingested(report):
    lines = [
        "START RequestId: a Version: $LATEST", ingested("a", 100), "END RequestId: a", report("a", 0.25, None),
        report("b", 0.5, 900.0), ingested("b", 7),  # in another stream of the group
        "REPORT of something else", '{"ingested": 1}', '{"type":"platform.report"}', '{"type":"platform.report"',
        report("without-records", 5, None),
    ]  # fmt: skip
    first, second = read_invocations(lines)
    assert (first.records, first.duration_seconds, first.billed_seconds) == (100, 0.25, 0.25)
    assert (first.memory_mb, first.used_mb, first.init_seconds) == (1769, 150, 0)
    assert (second.init_seconds, second.billed_seconds) == (0.9, 1.4)


def test_a_function_under_a_quota_is_calibrated_by_its_own_log():
    """REPORT lines hold what was measured, so that the corrected model must give just that."""
    (pipeline,) = parse_config(CONFIG, STAND_INS).pipelines
    records = records_of_items(pipeline, make_up_items(pipeline, 100))
    cutter = EventCutter(pipeline, records)

    async def run(wrapper):
        async with Bench(CONFIG) as bench:
            measured = await measure(bench, pipeline, records, lambda *_: None, (50, 400))
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
    found = calibrate(measured, invocations, constants)
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


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.004, 0.02, 1.0])
def test_stretching_is_undone(share, seconds):
    constants = Constants()
    assert shrink(stretch(seconds, share, constants), share, constants) == pytest.approx(seconds)
    assert stretch(seconds, share, constants) >= seconds


def test_few_invocations_tell_nothing():
    lines = []
    for number in range(LEAST):
        lines += [ingested(f"r{number}", 100), json_report(f"r{number}", 1.0, init_ms=None if number else 900.0)]
    assert len(read_invocations(lines)) == LEAST
    assert calibrate(MEASURED, read_invocations(lines), Constants()) is None, "the first of them began an environment"
    lines += [ingested("more", 100), json_report("more", 1.0)]
    assert calibrate(MEASURED, read_invocations(lines), Constants()).invocations == LEAST
