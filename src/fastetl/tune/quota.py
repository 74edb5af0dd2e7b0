"""Run a command with a share of a CPU, as Lambda's memory setting gives it; needs Linux's control groups, and root."""

from __future__ import annotations

import itertools
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PERIOD_MICROSECONDS = 20_000
"""The share is given out anew in each: short, so that a short invocation meets it as a long one does."""

_VERSION_1, _VERSION_2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")


_NUMBERS = itertools.count()


class QuotaError(Exception):
    """This machine does not let us limit a process's CPU; the message says what was tried."""


@contextmanager
def cpu_quota(share: float) -> Iterator[tuple[str, ...]]:
    """Give a wrapper for commands that then have `share` of one CPU, all together.

    Raises:
        QuotaError: this machine does not allow it.
    """
    is_first = (_VERSION_1 / "cpu.cfs_quota_us").exists()
    group = (_VERSION_1 if is_first else _VERSION_2) / f"fastetl-{os.getpid()}-{next(_NUMBERS)}"
    quota = round(share * PERIOD_MICROSECONDS)
    try:
        group.mkdir()
    except OSError as error:
        raise QuotaError(f"a control group cannot be made at {group}: {error}") from None
    try:
        if is_first:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_MICROSECONDS), encoding="ascii")
            (group / "cpu.cfs_quota_us").write_text(str(quota), encoding="ascii")
        else:
            (group / "cpu.max").write_text(f"{quota} {PERIOD_MICROSECONDS}", encoding="ascii")
        yield ("/bin/sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
    except OSError as error:
        raise QuotaError(f"{group} takes no quota: {error}") from None
    finally:
        with suppress(OSError):
            group.rmdir()
