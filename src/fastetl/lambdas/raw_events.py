"""Let the handler have the event as the bytes that Lambda sent, before they are parsed.

awslambdaric documents `marshaller` as a class attribute that a function's author may replace. It belongs to whatever
version the runtime brings, so it is looked at before it is touched; where it is not as expected, events keep coming
as dicts, which are written out again before they are decoded, and are counted (`EventsAsDict`).
"""

from __future__ import annotations

from typing import Any


def install_raw_events() -> bool:
    """Have events handed over as bytes from the next one on; tell whether that will happen."""
    try:
        from awslambdaric.lambda_runtime_client import LambdaRuntimeClient  # noqa: PLC0415 - the runtime's, not ours
    except ImportError:
        return False
    original = getattr(LambdaRuntimeClient, "marshaller", None)
    if not callable(getattr(original, "unmarshal_request", None)):
        return False
    if not callable(getattr(original, "marshal_response", None)):
        return False
    LambdaRuntimeClient.marshaller = _RawEvents(original)
    return True


class _RawEvents:
    """awslambdaric's marshaller, but for events."""

    def __init__(self, original: Any) -> None:
        self.marshal_response = original.marshal_response

    def unmarshal_request(self, request: Any, _content_type: str | None = None) -> Any:
        return request
