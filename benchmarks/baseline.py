"""fastetl as it was at one commit, to be measured in turn with what it is now."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

COMMIT = "2c9512c"
"""The last one whose decoding was Python's own."""

ROOT = Path(__file__).parents[1]


def unpack(folder: Path) -> bool:
    """Write the commit's source and benchmarks into a folder; tell whether this clone has it."""
    command = ["git", "-C", str(ROOT), "archive", COMMIT, "src", "benchmarks"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        return False
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return True


def build_path(folder: Path) -> str:
    """Give the PYTHONPATH on which the commit comes first."""
    return os.pathsep.join([str(folder / "src"), str(folder), *(path for path in sys.path if path)])
