"""Read what a process writes, line by line."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

_READ_BYTES = 1 << 16


class LogPipe:
    """What a process writes, as lines.

    Read directly rather than through a stream: whatever was written before a response arrived is in the pipe by then,
    so that `drain` gives an invocation all of its lines.
    """

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = b""
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)

    def open(self) -> None:
        """Read from now on; the process has its own copy of the other end."""
        os.close(self.write_end)
        self.write_end = -1
        asyncio.get_running_loop().add_reader(self._read_end, self.drain)

    def drain(self) -> None:
        """Read what is there."""
        while self._read_end >= 0:
            try:
                piece = os.read(self._read_end, _READ_BYTES)
            except BlockingIOError:
                return
            if not piece:  # the process has ended
                asyncio.get_running_loop().remove_reader(self._read_end)
                return
            *lines, self._rest = (self._rest + piece).split(b"\n")
            for line in lines:
                self._on_line(line.decode("utf-8", errors="replace"))

    def close(self) -> None:
        """Read the rest, and close."""
        self.drain()
        if self._rest:
            self._on_line(self._rest.decode("utf-8", errors="replace"))
        asyncio.get_running_loop().remove_reader(self._read_end)
        for end in (self._read_end, self.write_end):
            if end >= 0:
                os.close(end)
        self._read_end = self.write_end = -1
