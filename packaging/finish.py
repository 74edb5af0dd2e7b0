"""Finish a function's folder: drop what no function uses, compile, and hold it to Lambda's limit.

    python packaging/finish.py build/ingest

A deployed folder is read-only, so what is not compiled here is compiled anew at every cold start.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

RUNTIME = "3.13"
LIMIT_BYTES = 250 * 1024 * 1024
"""Of a function's unzipped package (Lambda quotas)."""
MARGIN_BYTES = 15 * 1024 * 1024

SERVICES = {"dynamodb", "redshift-data", "s3", "sts", "sso", "sso-oidc"}
"""Whose definitions botocore needs: what the functions call, and what its own credential chain does."""


def main(folder: Path) -> int:
    """Finish the folder; the exit code says whether it fits."""
    prune(folder)
    compiled = compile_all(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    sys.stdout.write(f"{folder}: {size / 2**20:.0f} MiB of 250, {'compiled' if compiled else 'not compiled'}\n")
    if size > LIMIT_BYTES - MARGIN_BYTES:
        sys.stderr.write(f"{folder}: less than {MARGIN_BYTES >> 20} MiB below Lambda's limit; take something out\n")
        return 1
    return 0


def prune(folder: Path) -> None:
    """Drop service definitions, tests and caches that no function uses."""
    for definitions in folder.glob("botocore/data/*/"):
        if definitions.name not in SERVICES:
            shutil.rmtree(definitions)
    for pattern in ("boto3/examples", "**/__pycache__", "**/tests", "boto3/data/*/"):
        for found in list(folder.glob(pattern)):
            if found.is_dir() and found.name not in SERVICES:
                shutil.rmtree(found)


def compile_all(folder: Path) -> bool:
    """Compile for Lambda's Python, if this machine has it; code of another version would be passed over there."""
    interpreter = find_interpreter()
    if not interpreter:
        sys.stderr.write(f"python{RUNTIME} is not here: the package is left uncompiled, and starts more slowly\n")
        return False
    # The files' times are lost on the way to Lambda; unchecked code is used whatever they are.
    command = [interpreter, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash", str(folder)]
    subprocess.run(command, check=True)  # noqa: S603 - a fixed command
    return True


def find_interpreter() -> str:
    """Find an interpreter of the runtime's version on this machine; empty where there is none."""
    uv = Path(sys.executable).with_name("uv")
    found = subprocess.run(  # noqa: S603 - a fixed command
        [uv, "python", "find", "--no-python-downloads", RUNTIME], check=False, capture_output=True, text=True
    )
    return found.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
