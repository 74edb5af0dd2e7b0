"""What `packaging/finish.py` finds in a package that must not be deployed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def finish() -> Any:
    spec = importlib.util.spec_from_file_location("finish", ROOT / "packaging/finish.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_elf(machine: int) -> bytes:
    """An ELF header as far as e_machine: 64 bits, little endian, a shared object."""
    return b"\x7fELF" + bytes([2, 1, 1]) + bytes(9) + (3).to_bytes(2, "little") + machine.to_bytes(2, "little")


@pytest.mark.parametrize(
    ("architecture", "foreign"), [("arm64", ["b/x86.so.1", "mac.so"]), ("x86_64", ["a/arm.so", "mac.so"])]
)
def test_binaries_for_another_machine_are_found(
    finish: Any, tmp_path: Path, architecture: str, foreign: list[str]
) -> None:
    files = {
        "a/arm.so": make_elf(183),
        "b/x86.so.1": make_elf(62),
        "mac.so": b"\xcf\xfa\xed\xfe" + bytes(20),
        "code.py": b"pass\n",
        "empty": b"",
    }
    for name, body in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(body)
    assert finish.find_foreign(tmp_path, architecture) == foreign
    (problem,) = finish.find_problems(tmp_path, architecture, 0, compiled=True)
    assert problem.startswith(f"not for {architecture}: {', '.join(foreign)};")


def test_the_interpreter_of_this_machine_is_read_as_such(finish: Any) -> None:
    assert finish.read_machine(Path(sys.executable).resolve()) in finish.MACHINES.values()


def test_a_package_must_leave_a_margin(finish: Any, tmp_path: Path) -> None:
    most = 235 * 1024 * 1024
    assert list(finish.find_problems(tmp_path, "arm64", most, compiled=True)) == []
    (problem,) = finish.find_problems(tmp_path, "arm64", most + 1, compiled=True)
    assert "less than 15 MiB below Lambda's limit" in problem


def test_uncompiled_code_is_refused_unless_it_is_asked_for(
    finish: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "code.py").write_text("pass\n")
    monkeypatch.setattr(finish, "RUNTIME", "3.0")  # which is nowhere
    monkeypatch.delenv(finish.ALLOW_UNCOMPILED, raising=False)
    assert finish.main(tmp_path, "arm64") == 1
    assert "Python 3.0 is not on this machine" in capsys.readouterr().err
    monkeypatch.setenv(finish.ALLOW_UNCOMPILED, "1")
    assert finish.main(tmp_path, "arm64") == 0


def test_code_is_compiled_for_the_version_that_lambda_runs(
    finish: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code.py").write_text("pass\n")
    monkeypatch.setattr(finish, "RUNTIME", f"{sys.version_info[0]}.{sys.version_info[1]}")
    assert finish.main(tmp_path, "arm64") == 0
    assert (tmp_path / "__pycache__" / f"code.{sys.implementation.cache_tag}.pyc").exists()
