"""What others would take for the same changes."""

import pytest

from fastetl.tune.model import Workload
from fastetl.tune.others import compare
from fastetl.tune.prices import Book, Constants

PAID = Book(constants=Constants(redshift_awake=1.0))


def test_prices_follow_what_is_carried():
    million_a_month = Workload(1e6 / 30 / 86_400)
    found = {other.name: other.dollars_per_month for other in compare(million_a_month, 2000, 10, 0.5, PAID)}
    assert found["Kinesis and Firehose"] == pytest.approx(2 * 0.10 + 2 * 0.08 + 5 * 0.029)
    assert found["zero-ETL integration"] == pytest.approx(2 * 0.10 + 10 * 0.20)
    assert found["Fivetran"] == pytest.approx(250)
    assert found["Airbyte Cloud"] == pytest.approx(20)


def test_a_warehouse_that_wakes_up_for_it_costs_more():
    idle, paid = (compare(Workload(1), 500, 0, 1, book) for book in (Book(), PAID))
    assert idle[1].dollars_per_month - paid[1].dollars_per_month == pytest.approx(24 * 30 / 15 * 8 * 0.375)
