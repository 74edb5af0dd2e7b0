"""Find the `fastetl local` that runs on this machine: a file for each has its process and how to reach it."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from fastetl.errors import ConfigError, FastetlError, Problem

LOCALSTACK_PORT = 4566


class Running(msgspec.Struct, frozen=True):
    """A `fastetl local` that runs."""

    aws_port: int
    pid: int
    environment: dict[str, str]
    """The variables with which it is reached."""


def log_path(aws_port: int) -> Path:
    """Name the file that a detached one writes its log to."""
    return _path(aws_port).with_suffix(".log")


@contextmanager
def announce(running: Running) -> Iterator[None]:
    """Say that it runs, as long as the context lasts."""
    path = _path(running.aws_port)
    path.write_bytes(msgspec.json.encode(running))
    path.chmod(0o600)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def find_running(aws_port: int) -> Running | None:
    """Find what runs at a port; None where nothing does, also where one has died without a word."""
    try:
        running = msgspec.json.decode(_path(aws_port).read_bytes(), type=Running)
        os.kill(running.pid, 0)
    except (OSError, msgspec.DecodeError):
        return None
    return running


def get_running(aws_port: int | None) -> Running:
    """Give what runs at a port, or without one the only one that runs.

    Raises:
        FastetlError: nothing does, or there are several to choose from.
    """
    ports = [aws_port] if aws_port else _list_ports()
    found = [running for port in ports if (running := find_running(port))]
    if not found:
        where = f" at port {aws_port}" if aws_port else ""
        raise FastetlError(f"no `fastetl local` runs{where}; start one with `fastetl local --detach`")
    if len(found) > 1:
        listed = ", ".join(str(running.aws_port) for running in found)
        raise FastetlError(f"several run, at the ports {listed}; name one with --aws-port")
    return found[0]


def check_ports(aws_port: int, data_api_port: int) -> None:
    """Make sure that both ports are free, before anything is started.

    Raises:
        ConfigError: one is taken; the message says by whom, where that is known.
    """
    if running := find_running(aws_port):
        message = f"another `fastetl local` runs at port {aws_port} (process {running.pid})"
        remedy = "End it with `fastetl local stop`, or name other ports with --aws-port and --data-api-port"
        raise ConfigError((Problem("--aws-port", message, remedy),))
    problems = [
        Problem(option, f"port {number} is taken by another program{hint}", f"Name another with {option}, or end it")
        for option, number, hint in (
            ("--aws-port", aws_port, " (LocalStack listens at 4566 as well)" * (aws_port == LOCALSTACK_PORT)),
            ("--data-api-port", data_api_port, ""),
        )
        if not _is_free(number)
    ]
    if aws_port == data_api_port:
        problems.append(Problem("--data-api-port", "it is the same as --aws-port", "Name two ports"))
    if problems:
        raise ConfigError(tuple(problems))


def _is_free(number: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True


def _path(aws_port: int | str) -> Path:
    return Path(tempfile.gettempdir(), f"fastetl-local-{os.getuid()}-{aws_port}.json")


def _list_ports() -> list[int]:
    """List the ports at which one runs, or has died without a word."""
    ports = [path.stem.rpartition("-")[2] for path in _path("").parent.glob(_path("*").name)]
    return sorted(int(port) for port in ports if port.isdecimal())
