"""The native pass by itself: its own tests under Zig's debug allocator, hostile bytes, and the other processor."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build/native-tests"
EXECUTIONS = int(os.environ.get("NATIVE_FUZZ", "300000"))
"""Of the fuzzer, in `make test`: seconds. NATIVE_FUZZ=10000000 takes minutes."""


@pytest.fixture(scope="module")
def build() -> Any:
    spec = importlib.util.spec_from_file_location("native_build", ROOT / "native/build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    FOLDER.mkdir(parents=True, exist_ok=True)
    return module


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    return done.stderr


def build_fuzzer(build: Any, name: str, *flags: str) -> str:
    target = FOLDER / name
    build.run_zig("build-exe", str(ROOT / "native/fuzz.zig"), "-fstrip", *flags, f"-femit-bin={target}")
    return str(target)


def test_its_own_tests_under_the_debug_allocator(build: Any) -> None:
    build.run_zig("test", str(ROOT / "native/tests.zig"), "-O", "Debug")


def test_no_bytes_end_the_process_or_give_rows_that_do_not_hold_together(build: Any) -> None:
    fuzzer = build_fuzzer(build, "fuzz", "-O", "ReleaseSafe", "-mcpu", build.CPUS.get(platform.machine(), "baseline"))
    line = run(fuzzer, str(EXECUTIONS), "1")
    assert line.startswith(f"{EXECUTIONS} executions, seed 1: ")
    rows, left, refused = (int(line.split(word)[0].split()[-1]) for word in (" rows", " records left", " refused"))
    assert rows > EXECUTIONS / 2, "the fuzzer makes too few records that the pass takes"
    assert min(left, refused) > EXECUTIONS / 10, "the fuzzer makes too few odd ones"


def test_what_is_freed_was_given_by_the_same_allocator_and_nothing_stays(build: Any) -> None:
    run(build_fuzzer(build, "fuzz-debug", "-O", "Debug"), "5000", "2")


QEMU = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")


@pytest.mark.skipif(QEMU is None, reason="qemu-user is not here")
def test_the_other_processor_gives_the_same_rows(build: Any) -> None:
    assert QEMU
    here = build_fuzzer(build, "fuzz", "-O", "ReleaseSafe", "-mcpu", build.CPUS.get(platform.machine(), "baseline"))
    there = build_fuzzer(build, "fuzz-aarch64", "-O", "ReleaseSafe", "-target", "aarch64-linux-musl")
    assert run(QEMU, there, "5000", "3") == run(here, "5000", "3")
