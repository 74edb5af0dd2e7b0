"""Commands run in the tests' process: what they set in the environment for processes of theirs ends with the test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest.mock import patch

import pytest


@pytest.fixture(autouse=True)
def _environment_ends_with_the_test() -> Iterator[None]:
    with patch.dict(os.environ):
        yield
