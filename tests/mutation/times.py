"""A plugin of pytest that writes down how long each test takes."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest


class Times:
    """Sums the seconds of each test, and writes them as JSON when the session ends."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add the seconds of a part of a test; what is set up once for many tests counts for none."""
        if report.when == "call":
            self._seconds[report.nodeid] += report.duration
        if report.failed:
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Write the seconds of the tests that pass without a mutant."""
        self._path.write_text(
            json.dumps({name: each for name, each in self._seconds.items() if name not in self._failed})
        )
