"""Build the native pass: a shared object for each processor, by the Zig compiler that the `ziglang` package brings.

    python native/build.py                     for this machine, where the package's source finds it
    python native/build.py aarch64 FOLDER      for another processor of Linux, into a folder

Nothing else has to be on the machine, and any machine builds for both. A wheel has both objects: hatchling calls the
hook below. Where there is none for a machine, the reference decodes everything.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent / "src/fastetl/decode"
CACHE = HERE.parent / "build/zig"

CPUS = {"x86_64": "x86_64_v3", "aarch64": "generic"}
"""Lambda's x86_64 has AVX2 (AWS Lambda Developer Guide, "Vectorization"); Graviton2 and every later one have NEON."""
GLIBC = "2.28"
"""The oldest C library that wheels of its dependencies ask for (manylinux_2_28)."""

MACHINES = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


def build(machine: str, folder: Path) -> Path:
    """Build the object of a processor, unless it is newer than all that it is made of."""
    target = folder / f"native.{machine}.so"
    sources = [*HERE.glob("src/*.zig"), Path(__file__)]
    if target.exists() and target.stat().st_mtime > max(source.stat().st_mtime for source in sources):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    # Beside the old one, which a process may have loaded; another process may build at the same time.
    fresh = target.with_suffix(f".{os.getpid()}")
    run_zig(
        "build-lib", str(HERE / "src/calls.zig"), "-dynamic", "-O", "ReleaseSafe", "-fstrip",
        "-target", f"{machine}-linux-gnu.{GLIBC}", "-mcpu", CPUS[machine], f"-femit-bin={fresh}",
    )  # fmt: skip
    fresh.replace(target)
    return target


def run_zig(command: str, *arguments: str) -> None:
    """Run the compiler, its caches in the build folder."""
    caches = ["--cache-dir", str(CACHE), "--global-cache-dir", str(CACHE / "global")]
    done = subprocess.run([sys.executable, "-m", "ziglang", command, *arguments, *caches], check=False)  # noqa: S603 - own
    if done.returncode:
        raise SystemExit("the native pass was not built; its compiler is the ziglang of requirements/dev.txt")


class NativeHook(BuildHookInterface[Any]):
    """Puts the objects into a wheel, and this machine's beside the source of an editable install."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build what the wheel needs."""
        if version == "editable":
            build_here()
            return
        for machine in CPUS:
            path = build(machine, HERE.parent / "build/native")
            build_data["force_include"][str(path)] = f"fastetl/decode/{path.name}"


def build_here() -> None:
    """Build for this machine, if it is one that the pass is built for."""
    machine = MACHINES.get(platform.machine())
    if machine and sys.platform == "linux":
        build(machine, PACKAGE)
    else:
        sys.stderr.write("no native pass for this machine: the reference decodes everything\n")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        build_here()
    else:
        build(sys.argv[1], Path(sys.argv[2]))
