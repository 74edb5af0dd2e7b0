"""Events as bytes: taken where the runtime's client is as expected, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from awslambdaric.lambda_runtime_client import LambdaRuntimeClient

from fastetl.lambdas.raw_events import install_raw_events


def test_what_a_client_does_not_have_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hidden:
        """A marshaller of another shape."""

    monkeypatch.setattr(LambdaRuntimeClient, "marshaller", Hidden(), raising=False)
    assert not install_raw_events()
    assert isinstance(LambdaRuntimeClient.marshaller, Hidden)


def test_only_events_are_handed_over_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    original = LambdaRuntimeClient.marshaller
    monkeypatch.setattr(LambdaRuntimeClient, "marshaller", original)
    assert install_raw_events()
    installed: Any = LambdaRuntimeClient.marshaller
    assert installed.unmarshal_request(b'{"a": 1}', "application/json") == b'{"a": 1}'
    assert installed.marshal_response({"a": 1}) == original.marshal_response({"a": 1})
