"""Laws of the model: what more work, more memory and more patience must do."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastetl.tune.model import MIB, Settings, Workload, cpu_share, duration, ingest, load
from fastetl.tune.prediction import predict
from fastetl.tune.prices import Book, Constants
from tests.tune.test_day import MEASURED

RATES = st.floats(0.01, 50_000)
SETTINGS = st.builds(
    Settings,
    memory_mb=st.sampled_from([256, 512, 1769, 3538]),
    batch_size=st.sampled_from([1, 100, 1000, 10_000]),
    window_seconds=st.sampled_from([0, 1, 30, 300]),
    parallelization=st.sampled_from([1, 10]),
    part_size=st.just(8 * MIB),
    max_bytes=st.sampled_from([MIB, 64 * MIB]),
    max_age_seconds=st.sampled_from([60, 900]),
)


def test_a_batch_that_was_measured_is_given_as_it_was():
    for sample in MEASURED.samples:
        found = MEASURED.at(sample.records)
        assert (found.event_bytes, found.file_bytes) == (sample.event_bytes, sample.file_bytes)
        assert (found.cpu_seconds, found.memory_mb) == pytest.approx((sample.cpu_seconds, sample.memory_mb))


@given(st.floats(1, 20_000), st.floats(1, 20_000))
def test_larger_batches_take_more(one, other):
    small, large = sorted((one, other))
    assert MEASURED.at(small).cpu_seconds <= MEASURED.at(large).cpu_seconds + 1e-9
    assert MEASURED.at(small).memory_mb <= MEASURED.at(large).memory_mb + 1e-9


def test_memory_buys_one_cpu_and_no_more():
    constants = Constants()
    assert cpu_share(1769, constants) == 1
    assert cpu_share(1769 / 2, constants) == 0.5
    sample = MEASURED.samples[-1]
    assert duration(sample, 3538, constants) == duration(sample, 1769, constants) < duration(sample, 512, constants)


@given(SETTINGS, RATES)
def test_batches_keep_the_limits(settings, rate):
    found = ingest(MEASURED, settings, rate, 1, Constants())
    assert 1 <= found.records <= settings.batch_size
    assert MEASURED.at(found.records).event_bytes <= Constants().payload_bytes * 1.001
    assert found.invocations * found.records == pytest.approx(rate)


@given(SETTINGS, RATES)
def test_twice_the_rate_is_half_the_margin(settings, rate):
    once, twice = (ingest(MEASURED, settings, rate * factor, 1, Constants()) for factor in (1, 2))
    assert once.margin == pytest.approx(2 * twice.margin)


@given(SETTINGS, st.floats(0.1, 5000))
def test_a_day_adds_up(settings, rate):
    book = Book()
    found = predict(MEASURED, settings, Workload(rate, (0.5, 1.5) * 12), book)
    assert found.dollars == pytest.approx(found.per_million * rate * 86_400 / 1e6)
    assert 0 < found.fresh_p50 <= found.fresh_p99
    assert all(cost >= 0 for cost in found.dollars_per_day.values())
    # A warehouse that is paid for anyway costs nothing more; nothing else changes.
    paid = msgspec.structs.replace(book, constants=msgspec.structs.replace(book.constants, redshift_awake=1.0))
    free = predict(MEASURED, settings, Workload(rate, (0.5, 1.5) * 12), paid)
    assert free.dollars_per_day == {**found.dollars_per_day, "Redshift": 0.0}


def test_loads_are_begun_at_wake_ups():
    settings = Settings(1769, 1000, 30, 1, 8 * MIB, 64 * MIB, 170)
    ingestion = ingest(MEASURED, settings, 100, 1, Constants())
    assert load(settings, ingestion, Constants()).cycle_seconds == 180
    later = msgspec.structs.replace(settings, max_age_seconds=180)
    assert load(later, ingestion, Constants()).cycle_seconds == 240, "180 s after the first file the minute is over"


def test_a_warehouse_that_cannot_keep_up_never_rests():
    slow = Constants(copy_bytes_per_second=1000.0)
    settings = Settings(1769, 10_000, 30, 1, 8 * MIB, 64 * MIB, 60)
    ingestion = ingest(MEASURED, settings, 500, 1, slow)
    assert load(settings, ingestion, slow).cycle_seconds == float("inf")
