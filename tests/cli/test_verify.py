"""What `fastetl verify` says of what it found, and what to type."""

from __future__ import annotations

import msgspec
import pytest

from fastetl.cli.verify import _tell
from fastetl.operate import Verified
from fastetl.operate.verify import RowDifference

SAME = Verified("orders", 5, 0, (), 0, is_cut=False, waited_for="watermark", read_units=1.0)
DIFFERENT = msgspec.structs.replace(
    SAME, differences=(RowDifference("N=1;", "missing"), RowDifference("N=2;", "differs", ("note",), "lines"))
)
NEXT = "`fastetl verify --repair` carries these rows over"


@pytest.mark.parametrize(
    ("found", "out", "err"),
    [
        (SAME, "", "orders: 5 items compared, 0 differences\n"),
        (
            DIFFERENT,
            "N=1; missing\nlines: N=2; differs: note\n",
            f"orders: 5 items compared, 2 differences; {NEXT}\n",
        ),
        (
            msgspec.structs.replace(DIFFERENT, repaired=2),
            "N=1; missing\nlines: N=2; differs: note\n",
            "orders: 5 items compared, 2 differences, 2 repaired\n",
        ),
        (
            msgspec.structs.replace(SAME, unfit=1, undecided=2, is_cut=True, waited_for="settling"),
            "",
            "orders: 5 items compared, 0 differences\n"
            "1 item fit no row and were not compared: they are rejects\n"
            "2 keys went on changing: verify again\n"
            "more rows differ than were looked at again: repair these, and verify again\n"
            "it is not known up to when everything is loaded: --settle was waited for instead\n",
        ),
    ],
)
def test_what_was_found_is_told_with_what_to_type(
    found: Verified, out: str, err: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _tell(found)
    assert capsys.readouterr() == (out, err)
