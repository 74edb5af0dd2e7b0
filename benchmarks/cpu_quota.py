"""Run a command with a share of a CPU, as Lambda's memory setting gives it; needs Linux's control groups, and root."""

from __future__ import annotations

import itertools
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_SHARES, MOST_WEIGHT = 262_144, 10_000
"""The largest that control groups take (kernel documentation, version 1 and 2): the share is there, whatever else runs
on this machine."""

_VERSION_1, _VERSION_2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")

_NUMBERS = itertools.count()


class QuotaError(Exception):
    """This machine does not let us limit a process's CPU; the message says what was tried."""


@contextmanager
def cpu_quota(share: float, period_seconds: float = 0.02) -> Iterator[tuple[str, ...]]:
    """Give a wrapper for commands that then have `share` of one CPU, all together, given out again in each period.

    Raises:
        QuotaError: this machine does not allow it.
    """
    is_first = (_VERSION_1 / "cpu.cfs_quota_us").exists()
    group = (_VERSION_1 if is_first else _VERSION_2) / f"fastetl-{os.getpid()}-{next(_NUMBERS)}"
    period = round(period_seconds * 1e6)
    quota = round(share * period)
    try:
        group.mkdir()
    except OSError as error:
        raise QuotaError(f"a control group cannot be made at {group}: {error}") from None
    try:
        if is_first:
            (group / "cpu.cfs_period_us").write_text(str(period), encoding="ascii")
            (group / "cpu.cfs_quota_us").write_text(str(quota), encoding="ascii")
            (group / "cpu.shares").write_text(str(MOST_SHARES), encoding="ascii")
        else:
            (group / "cpu.max").write_text(f"{quota} {period}", encoding="ascii")
            (group / "cpu.weight").write_text(str(MOST_WEIGHT), encoding="ascii")
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        raise QuotaError(f"{group} takes no quota: {error}") from None
    try:
        yield ("/bin/sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
    finally:
        with suppress(OSError):
            group.rmdir()
