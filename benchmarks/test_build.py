"""What the native pass adds to an installation: the compiler's, its own compilation, and the object's size."""

from __future__ import annotations

import resource
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = ROOT / ".venv/bin"
BUILD = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("build", "native/build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)
build.CACHE = Path(sys.argv[2]) / "cache"
print(build.build(sys.argv[1], Path(sys.argv[2])))
"""


def test_install(benchmark, tmp_path):
    """Install the locked compiler into an empty folder, from uv's cache if it is there."""
    text = (ROOT / "requirements/dev.txt").read_text()
    requirement = tmp_path / "zig.txt"
    requirement.write_text(text[text.index("ziglang==") :].partition("\n    # via")[0] + "\n")
    command = [
        BIN / "uv",
        "pip",
        "install",
        "--quiet",
        "--target",
        tmp_path / "zig",
        "--require-hashes",
        "-r",
        requirement,
    ]

    def run():
        began = time.perf_counter()
        subprocess.run(command, check=True)
        return time.perf_counter() - began

    benchmark.extra_info["wall"] = benchmark.pedantic(run, rounds=1)
    shutil.rmtree(tmp_path / "zig")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_build(benchmark, tmp_path, machine):
    """Compile with nothing in any cache."""

    def run():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [BIN / "python", "-c", BUILD, machine, tmp_path]
        path = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, Path(path.strip())

    cpu, path = benchmark.pedantic(run, rounds=1)
    benchmark.extra_info.update(cpu=cpu, size=path.stat().st_size)
    shutil.rmtree(tmp_path / "cache")
