"""Finish a function's folder: drop what no function uses, compile, and hold it to Lambda's limit and architecture.

    python packaging/finish.py build/arm64/ingest arm64

A deployed folder is read-only, so what is not compiled here is compiled at every cold start.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

RUNTIME = "3.13"
LIMIT_BYTES = 250 * 1024 * 1024
"""Of a function's unzipped package (Lambda quotas)."""
MARGIN_BYTES = 15 * 1024 * 1024

SERVICES = {"dynamodb", "dynamodbstreams", "lambda", "redshift-data", "s3", "sts", "sso", "sso-oidc"}
"""Whose definitions botocore needs: what the functions call, and what its own credential chain does."""

ALLOW_UNCOMPILED = "ALLOW_UNCOMPILED"
"""Set to 1, this variable lets a package pass that starts more slowly."""

ELF_MAGIC = b"\x7fELF"
MACHINES = {"arm64": 183, "x86_64": 62}
"""e_machine, two bytes from an ELF header's byte 18 on (System V ABI: EM_AARCH64, EM_X86_64)."""

NATIVE = {"arm64": "native.aarch64.so", "x86_64": "native.x86_64.so"}
"""The native pass of each architecture, as `native/build.py` names it."""


def main(folder: Path, architecture: str) -> int:
    """Finish the folder; the exit code says whether it may be deployed."""
    prune(folder)
    compiled = compile_all(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    what = f"{size / 2**20:.0f} MiB of 250, {architecture}, {'compiled' if compiled else 'not compiled'}"
    sys.stdout.write(f"{folder}: {what}\n")
    problems = list(find_problems(folder, architecture, size, compiled=compiled))
    for problem in problems:
        sys.stderr.write(f"{folder}: {problem}\n")
    return 1 if problems else 0


def prune(folder: Path) -> None:
    """Drop service definitions, tests and caches that no function uses."""
    for definitions in folder.glob("botocore/data/*/"):
        if definitions.name not in SERVICES:
            shutil.rmtree(definitions)
    for pattern in ("boto3/examples", "**/__pycache__", "**/tests", "boto3/data/*/"):
        for found in list(folder.glob(pattern)):
            if found.is_dir() and found.name not in SERVICES:
                shutil.rmtree(found)


def find_problems(folder: Path, architecture: str, size: int, *, compiled: bool) -> Iterator[str]:
    """Find what keeps a folder from being deployed, each with its remedy."""
    if size > LIMIT_BYTES - MARGIN_BYTES:
        yield f"less than {MARGIN_BYTES >> 20} MiB below Lambda's limit; take something out"
    foreign = find_foreign(folder, architecture)
    if foreign:
        yield f"not for {architecture}: {', '.join(foreign)}; build for the other, or leave them out"
    native = folder / "fastetl/decode" / NATIVE[architecture]
    if native.parent.exists() and not native.exists():
        yield f"no native pass: {native.relative_to(folder)} is missing; build it with native/build.py"
    if not compiled and os.environ.get(ALLOW_UNCOMPILED) != "1":
        yield (
            f"Lambda's Python {RUNTIME} is not on this machine, and only it can compile what Lambda runs. Install it "
            f"(`.venv/bin/uv python install {RUNTIME}`), or set {ALLOW_UNCOMPILED}=1 to start more slowly"
        )


def find_foreign(folder: Path, architecture: str) -> list[str]:
    """Find binaries that Lambda's Linux cannot load on this architecture."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and (machine := read_machine(path)) is not None and machine != MACHINES[architecture]
    )


def read_machine(path: Path) -> int | None:
    """Read which machine a binary is for; -1 for a library that is no ELF, None for what is no binary."""
    with path.open("rb") as file:
        header = file.read(20)
    if header.startswith(ELF_MAGIC):
        return int.from_bytes(header[18:20], "little")
    return -1 if path.suffix in {".so", ".dylib", ".pyd"} else None


def compile_all(folder: Path) -> bool:
    """Compile for Lambda's Python, if this machine has it; code of another version would be passed over there."""
    interpreter = find_interpreter()
    if not interpreter:
        return False
    # The files' times are lost on the way to Lambda; unchecked code is used whatever they are.
    command = [interpreter, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash", str(folder)]
    subprocess.run(command, check=True)  # noqa: S603 - a fixed command
    return True


def find_interpreter() -> str:
    """Find an interpreter of the runtime's version, uv's, pyenv's or another; empty where this machine has none."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    # pyenv's shims are found first and answer only where a version is switched on.
    pyenv = sorted(str(path) for path in root.glob(f"versions/{RUNTIME}.*/bin/python{RUNTIME}"))
    for candidate in (_ask_uv(), f"python{RUNTIME}", *reversed(pyenv)):
        if candidate and _run([candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]) == RUNTIME:
            return candidate
    return ""


def _ask_uv() -> str:
    return _run([str(Path(sys.executable).with_name("uv")), "python", "find", "--no-python-downloads", RUNTIME])


def _run(command: list[str]) -> str:
    """Run a command, and give what it prints; nothing where it cannot be run."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 - fixed
    except (OSError, subprocess.CalledProcessError):
        return ""


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
