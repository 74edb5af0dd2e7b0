"""From a function's log to a factor."""

import pytest

from fastetl.local.lambda_runtime import Report
from fastetl.tune.calibrate import LEAST, calibrate, read_invocations
from fastetl.tune.model import duration
from fastetl.tune.prices import Constants
from tests.tune.test_day import MEASURED


def log_of(
    request: str, records: int, seconds: float, memory_mb: int = 1769, init_ms: float | None = None
) -> list[str]:
    report = Report(request, seconds * 1000, memory_mb, 150, init_ms)
    return [
        f"START RequestId: {request} Version: $LATEST",
        f'{{"message":"ingested","function_request_id":"{request}","Records":{records}}}',
        f"END RequestId: {request}",
        str(report),
    ]


def test_reports_are_joined_with_what_was_ingested():
    lines = [*log_of("a", 100, 0.25), *log_of("b", 7, 0.5, init_ms=900), "REPORT of something else", '{"ingested": 1}']
    lines += [str(Report("without-records", 5, 128, 60))]
    first, second = read_invocations(lines)
    assert (first.records, first.duration_seconds, first.memory_mb, first.used_mb) == (100, 0.25, 1769, 150)
    assert second.init_seconds == 0.9


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7])
def test_a_slower_cpu_is_found(factor):
    truth = Constants(cpu_factor=factor)
    lines = []
    for number, records in enumerate((100, 500, 1000, 3000, 5000, 8000)):
        memory = (512, 1769)[number % 2]
        lines += log_of(f"r{number}", records, duration(MEASURED.at(records), memory, truth), memory)
    found = calibrate(MEASURED, read_invocations(lines), Constants())
    assert found.cpu_factor == pytest.approx(factor, rel=0.01)


def test_few_invocations_tell_nothing():
    lines = [line for number in range(LEAST - 1) for line in log_of(f"r{number}", 100, 1.0)]
    assert calibrate(MEASURED, read_invocations(lines), Constants()) is None
