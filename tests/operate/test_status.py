"""What `status` tells of gaps: changes that the stream may have forgotten before they were read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fastetl.limits import STREAM_KEEPS_SECONDS
from fastetl.model import GAP_MARGIN_SECONDS, FileItem, follows_gap
from fastetl.operate.operator import Operator
from fastetl.versions import EXPORT_LABEL, EpochStart, build_version

CHANGED, CHANGED_SECONDS = "2026-01-01 00:00:00.000000", 1_767_225_600
OLDEST = STREAM_KEEPS_SECONDS - GAP_MARGIN_SECONDS


def make_file(age_seconds: int, label: str = "2026-01-01T00:00:00.000") -> FileItem:
    """A file whose first change was this old when the file was registered."""
    version, created = build_version(0, label, "1"), (CHANGED_SECONDS + age_seconds) * 1000
    return FileItem(
        f"{age_seconds:032x}", "orders", "k", "l", "c", 1, 1, 0, "", version, version, CHANGED, CHANGED, created
    )


async def test_a_file_that_began_where_the_stream_forgets_is_told_until_an_export_has_covered_it(
    make_plant: Any,
) -> None:
    plant = await make_plant()
    operator = Operator(plant.deployment())
    head = await plant.ledger.batches.head("orders")
    assert head is not None
    for age_seconds, expected in ((60, 0), (OLDEST + 1, 1), (OLDEST + 3600, 2)):
        await plant.ledger.files.register(make_file(age_seconds))
        assert (await operator.status()).possible_gaps == expected
    # An epoch that begins between both covers the first, and one after both covers them all.
    for begins_after, expected in ((OLDEST + 60, 1), (OLDEST + 7200, 0)):
        starts = (EpochStart(1, CHANGED_SECONDS + begins_after),)
        head = await plant.ledger.batches.change_head(head, epochs=starts)
        assert (await operator.status()).possible_gaps == expected


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (make_file(OLDEST), False),
        (make_file(OLDEST + 1), True),
        (make_file(OLDEST * 2, EXPORT_LABEL), False),
        (msgspec.structs.replace(make_file(OLDEST * 2), changed_min=""), False),
    ],
)
def test_a_change_is_too_old_half_an_hour_before_the_stream_forgets_it(file: FileItem, expected: bool) -> None:
    assert follows_gap(file) is expected
