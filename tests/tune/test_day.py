"""A day that was predicted, and the same day played out by the coordinator itself: they agree within a tenth."""

import math

import pytest

from fastetl.tune.model import MIB, Measured, Sample, Settings, Workload, predict
from fastetl.tune.prices import Book
from tests.tune.day import Day

MEASURED = Measured(
    "gzip",
    (
        Sample(1, 769, 287, 0.0217, 0.05, 115),
        Sample(100, 75_853, 12_898, 0.024, 0.04, 118),
        Sample(1000, 760_108, 127_111, 0.069, 0.11, 126),
        Sample(8000, 6_100_000, 1_020_000, 0.31, 0.33, 188),
    ),
    1.1,
)
SHOP = tuple(1 + 0.67 * math.sin((hour - 13) / 24 * 2 * math.pi) for hour in range(24))
NIGHTLY = (0.5,) * 2 + (12.0,) + (0.5,) * 21

CASES = {
    "a shop's day": (Workload(250, SHOP), Settings(1769, 10_000, 60, 1, 8 * MIB, 64 * MIB, 300)),
    "a nightly burst": (Workload(200, NIGHTLY, 2), Settings(512, 5000, 60, 1, 8 * MIB, 64 * MIB, 900)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_day_comes_as_predicted(case):
    workload, settings = CASES[case]
    book = Book()
    predicted, played = predict(MEASURED, settings, workload, book), Day(MEASURED, settings, workload, book).play()
    prices, constants = book.prices, book.constants
    assert played.files == pytest.approx(predicted.files_per_day, rel=0.1)
    assert played.loads == pytest.approx(predicted.loads_per_day, rel=0.1)
    assert played.fresh_p50 == pytest.approx(predicted.fresh_p50, rel=0.1)
    assert played.fresh_p99 == pytest.approx(predicted.fresh_p99, rel=0.1)
    calls = played.calls
    writes = 2 * (calls["dynamodb", "put_item"] + calls["dynamodb", "update_item"])
    writes += 4 * calls["dynamodb", "transact_write_items"]
    gets = played.files + 2 * played.loads + calls["s3", "get_object"]
    dollars = {
        "Lambda, ingest": played.lambda_seconds * settings.memory_mb / 1024 * book.gb_second
        + played.files * prices.lambda_million_requests / 1e6,
        "S3": (played.puts * prices.s3_thousand_puts + gets * prices.s3_thousand_gets) / 1e3,
        "Redshift": played.awake_seconds / 3600 * constants.redshift_rpus * prices.redshift_rpu_hour,
    }
    stored = predicted.files_per_day * MEASURED.at(predicted.records_per_invocation).file_bytes
    month = constants.days_kept / 30 * prices.s3_gb_month / 1e9
    expected = {**predicted.dollars_per_day, "S3": predicted.dollars_per_day["S3"] - stored * month}
    for service, cost in dollars.items():
        assert cost == pytest.approx(expected[service], rel=0.1), service
    assert writes == pytest.approx(
        predicted.files_per_day * constants.ledger_writes_per_file
        + predicted.loads_per_day * constants.ledger_writes_per_load,
        rel=0.1,
    )
