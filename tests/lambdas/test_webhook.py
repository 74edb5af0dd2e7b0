"""Alarms reach an address outside, in a form that a chat takes; what the address refuses is tried again by Lambda."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from fastetl.lambdas.webhook import ADDRESS_VARIABLE, handler, write_text

ALARM = {
    "AlarmName": "fastetl-Paused",
    "AlarmDescription": "A pipeline is paused; `fastetl status` says why.",
    "NewStateValue": "ALARM",
    "NewStateReason": "Threshold Crossed: 1 datapoint (1.0) was greater than the threshold (0.0).",
    "StateChangeTime": "2026-01-01T00:00:00.000+0000",
}


class Receiver:
    """A chat's webhook on this machine."""

    def __init__(self) -> None:
        self.received: list[tuple[str, Any]] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append((str(self.headers["Content-Type"]), json.loads(body)))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/services/secret-token"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever)
    thread.start()
    yield receiver
    receiver.server.shutdown()
    thread.join()
    receiver.server.server_close()


def event(*messages: str) -> dict[str, Any]:
    return {
        "Records": [{"EventSource": "aws:sns", "Sns": {"Subject": "a subject", "Message": each}} for each in messages]
    }


def test_an_alarm_reaches_the_address(receiver: Receiver) -> None:
    handler(event(json.dumps(ALARM)), None, {ADDRESS_VARIABLE: receiver.address})
    ((kind, body),) = receiver.received
    assert kind == "application/json"
    assert body == {"text": "\n".join((
        "ALARM: fastetl-Paused", ALARM["AlarmDescription"], ALARM["NewStateReason"], ALARM["StateChangeTime"],
    ))}  # fmt: skip


def test_every_message_of_an_event_is_sent(receiver: Receiver) -> None:
    handler(event(json.dumps(ALARM), "plain words"), None, {ADDRESS_VARIABLE: receiver.address})
    assert [body["text"].split("\n")[0] for _, body in receiver.received] == ["ALARM: fastetl-Paused", "a subject"]


@pytest.mark.parametrize("status", [400, 404, 500])
def test_what_the_address_refuses_is_an_error_that_does_not_name_it(
    receiver: Receiver, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.status = status
    with pytest.raises(OSError, match=str(status)) as failure:
        handler(event("one"), None, {ADDRESS_VARIABLE: receiver.address})
    assert "secret-token" not in str(failure.value) + capsys.readouterr().out


@pytest.mark.parametrize("message", ["plain words", "[]", "17", '{"another": "message"}', ""])
def test_what_is_no_alarm_is_handed_on_as_it_is(message: str) -> None:
    assert write_text({"Subject": "a subject", "Message": message}) == "\n".join(filter(None, ("a subject", message)))
