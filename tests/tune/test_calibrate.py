"""From a function's log to corrections of the model."""

import json

import pytest

from fastetl.local.functions.lambda_runtime import Report
from fastetl.tune.calibrate import LEAST_INVOCATIONS, build_calibration, read_invocations
from fastetl.tune.model import shrink, stretch
from fastetl.tune.prices import Constants
from tests.tune.test_day import MEASURED

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


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.004, 0.02, 1.0])
def test_stretching_is_undone(share, seconds):
    constants = Constants()
    assert shrink(stretch(seconds, share, constants), share, constants) == pytest.approx(seconds)
    assert stretch(seconds, share, constants) >= seconds


def test_few_invocations_tell_nothing():
    lines = []
    for number in range(LEAST_INVOCATIONS):
        lines += [ingested(f"r{number}", 100), json_report(f"r{number}", 1.0, init_ms=None if number else 900.0)]
    assert len(read_invocations(lines)) == LEAST_INVOCATIONS
    assert build_calibration(MEASURED, read_invocations(lines), Constants()) is None, (
        "the first of them began an environment"
    )
    lines += [ingested("more", 100), json_report("more", 1.0)]
    assert build_calibration(MEASURED, read_invocations(lines), Constants()).invocations == LEAST_INVOCATIONS
