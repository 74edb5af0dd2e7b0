"""A day that was predicted, and the same day played out by the coordinator itself: they agree within a tenth."""

import math

import pytest

from fastetl.tune.model import HOUR, MIB, Measured, Sample, Settings, Workload
from fastetl.tune.prediction import predict
from fastetl.tune.prices import Book
from tests.tune.day import Day, Played

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

TEN_MINUTES = tuple(5.0 if part % 12 == 5 else 1.0 for part in range(144))
"""Every two hours five times as much, for ten minutes."""

CASES = {
    "a shop's day": (Workload(250, SHOP), Settings(1769, 10_000, 60, 1, 8 * MIB, 64 * MIB, 300)),
    "a nightly burst": (Workload(200, NIGHTLY, 2), Settings(512, 5000, 60, 1, 8 * MIB, 64 * MIB, 900)),
    "short bursts": (Workload(150, TEN_MINUTES, 2), Settings(512, 5000, 30, 1, 8 * MIB, 64 * MIB, 120)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_day_comes_as_predicted(case):
    workload, settings = CASES[case]
    book = Book()
    predicted, played = predict(MEASURED, settings, workload, book), Day(MEASURED, settings, workload, book).play()
    assert played.files == pytest.approx(predicted.files_per_day, rel=0.1)
    assert played.loads == pytest.approx(predicted.loads_per_day, rel=0.1)
    assert played.fresh_p50 == pytest.approx(predicted.fresh_p50, rel=0.1)
    assert played.fresh_p99 == pytest.approx(predicted.fresh_p99, rel=0.1)
    dollars = count_dollars(played, settings, workload, book)
    assert dollars.keys() == predicted.dollars_per_day.keys()
    for service, cost in dollars.items():
        assert cost == pytest.approx(predicted.dollars_per_day[service], rel=0.1), service
    assert sum(dollars.values()) == pytest.approx(predicted.dollars, rel=0.1)


def test_looks_after_50_shards_cost_a_dollar_a_month_at_most():
    """Each shard writes a file a minute, and all of them are loaded every quarter of an hour."""
    settings = Settings(1769, 10_000, 60, 1, 8 * MIB, 64 * MIB, 900)
    predicted = predict(MEASURED, settings, Workload(50 * 20, shards=50), Book())
    assert predicted.files_per_day == pytest.approx(50 * 24 * 60, rel=0.1)
    assert 0.5 < 30 * predicted.dollars_per_day["Looks after the stream"] <= 1


def count_dollars(played: Played, settings: Settings, workload: Workload, book: Book) -> dict[str, float]:
    """Price what was done: calls as they were counted, stored bytes and starts of environments as they are assumed."""
    prices, constants, calls, files = book.prices, book.constants, played.calls, played.files
    starts = 24 * HOUR / constants.environment_seconds
    billed = played.lambda_seconds + workload.shards * settings.parallelization * starts * MEASURED.init_seconds
    coordinating = played.wake_ups * constants.coordinator_seconds + starts * constants.coordinator_init_seconds
    # An index entry is written with each item; a transaction counts twice; a query takes half a unit.
    writes = 2 * (calls["dynamodb", "put_item"] + calls["dynamodb", "update_item"])
    writes += 4 * calls["dynamodb", "transact_write_items"]
    reads = calls["dynamodb", "get_item"] + calls["dynamodb", "query"] / 2 + files  # each file's item, when it is taken
    gets = files + 2 * played.loads + calls["s3", "get_object"]
    stored = played.file_bytes * constants.days_kept / 30 * prices.s3_gb_month / 1e9
    logged = files * constants.log_bytes_per_invocation / 1e9
    return {
        "Lambda, ingest": billed * settings.memory_mb / 1024 * book.gb_second
        + files * prices.lambda_million_requests / 1e6,
        "Lambda, coordinator": coordinating * constants.coordinator_memory_mb / 1024 * book.gb_second
        + played.wake_ups * prices.lambda_million_requests / 1e6,
        "S3": (played.puts * prices.s3_thousand_puts + gets * prices.s3_thousand_gets) / 1e3 + stored,
        "DynamoDB, ledger": (writes * prices.dynamodb_million_writes + reads * prices.dynamodb_million_reads) / 1e6,
        "Looks after the stream": played.looked["list"] * prices.s3_thousand_puts / 1e3
        + played.looked["read"] * prices.dynamodb_million_reads / 1e6
        + played.looked["write"] * prices.dynamodb_million_writes / 1e6,
        "CloudWatch": logged * prices.cloudwatch_log_gb + constants.metrics * prices.cloudwatch_metric_month / 30,
        "Redshift": played.awake_seconds / HOUR * constants.redshift_rpus * prices.redshift_rpu_hour,
    }
