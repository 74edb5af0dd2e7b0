"""Which `fastetl local` a command means, where several may run on this machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fastetl.cli.running import Running, announce, get_running
from fastetl.errors import FastetlError


@pytest.fixture
def announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ExitStack() as announced:
        yield announced


def test_without_a_port_the_only_one_that_runs_is_meant(announced: ExitStack, tmp_path: Path) -> None:
    with pytest.raises(FastetlError, match="no `fastetl local` runs; start one with `fastetl local --detach`"):
        get_running(None)
    one, other = Running(4566, os.getpid(), {"A": "1"}), Running(5000, os.getpid(), {})
    announced.enter_context(announce(one))
    (tmp_path / f"fastetl-local-{os.getuid()}-77.json").write_text("killed while it was written")
    (tmp_path / f"fastetl-local-{os.getuid()}-x.json").write_text("{}")
    assert get_running(None) == get_running(4566) == one
    with pytest.raises(FastetlError, match="no `fastetl local` runs at port 5000; start one"):
        get_running(5000)
    announced.enter_context(announce(other))
    assert get_running(5000) == other
    with pytest.raises(FastetlError, match="several run, at the ports 4566, 5000; name one with --aws-port"):
        get_running(None)
