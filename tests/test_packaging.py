"""Packages: what `packaging/finish.py` finds in them, which ones the Makefile builds, what they have to hold."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.template import ROOT, read_template


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


@pytest.mark.parametrize(("architecture", "machine", "other"), [("arm64", 183, "x86_64"), ("x86_64", 62, "arm64")])
def test_a_package_has_the_native_pass_of_its_architecture(
    finish: Any, tmp_path: Path, architecture: str, machine: int, other: str
) -> None:
    decode = tmp_path / "fastetl/decode"
    decode.mkdir(parents=True)
    (problem,) = finish.find_problems(tmp_path, architecture, 0, compiled=True)
    assert problem.startswith(f"no native pass: fastetl/decode/{finish.NATIVE[architecture]} is missing")
    native = decode / finish.NATIVE[architecture]
    native.write_bytes(make_elf(machine))
    assert list(finish.find_problems(tmp_path, architecture, 0, compiled=True)) == []
    (decode / finish.NATIVE[other]).write_bytes(make_elf(finish.MACHINES[other]))
    (problem,) = finish.find_problems(tmp_path, architecture, 0, compiled=True)
    assert problem.startswith(f"not for {architecture}: fastetl/decode/{finish.NATIVE[other]};")
    (decode / finish.NATIVE[other]).unlink()
    native.write_bytes(make_elf(finish.MACHINES[other]))
    (problem,) = finish.find_problems(tmp_path, architecture, 0, compiled=True)
    assert problem.startswith(f"not for {architecture}: fastetl/decode/{finish.NATIVE[architecture]};")


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


# --- the Makefile -----------------------------------------------------------------------------------------------------


def dry_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What `make` would do; nothing is done."""
    environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "ARCH"}}
    command = ["make", "--dry-run", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_packages_are_built_and_checked_for_both_architectures() -> None:
    done = dry_run("package")
    assert done.returncode == 0, done.stderr
    platforms = re.findall(r"--python-platform (\S+) .* -r requirements/(\w+)\.txt", done.stdout.replace("\\\n", ""))
    assert platforms == [
        (f"{machine}-manylinux_2_28", function)
        for machine in ("aarch64", "x86_64")
        for function in ("ingest", "coordinator")
    ]
    assert re.findall(r"native/build\.py (\S+) \S+\n", done.stdout) == ["aarch64", "aarch64", "x86_64", "x86_64"]
    assert re.findall(r"cp \S+/native\.(\S+)\.so build/(\S+)/fastetl/decode/", done.stdout) == [
        ("aarch64", "arm64/ingest"),
        ("aarch64", "arm64/coordinator"),
        ("x86_64", "x86_64/ingest"),
        ("x86_64", "x86_64/coordinator"),
    ]
    assert re.findall(r"packaging/finish\.py (\S+) (\S+)", done.stdout) == [
        (f"build/{architecture}/{function}", architecture)
        for architecture in ("arm64", "x86_64")
        for function in ("ingest", "coordinator")
    ]


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_what_is_deployed_is_for_the_architecture_that_the_stack_is_told(architecture: str) -> None:
    done = dry_run("deploy", f"ARCH={architecture}")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"Architecture=(\w+)", done.stdout) == [architecture] * 2
    built = dry_run("build-Backfill", f"ARCH={architecture}", "ARTIFACTS_DIR=somewhere").stdout
    assert f"finish.py somewhere {architecture}" in built
    assert f"ARCH={architecture} " in done.stdout


def test_a_deployment_builds_in_the_source_folder_and_takes_only_what_it_needs() -> None:
    """SAM would otherwise copy all of CodeUri, environments included, once for each function."""
    (build,) = re.findall(r"sam build (.*)", dry_run("deploy", "CODE=mine more.py").stdout)
    assert {"--build-in-source", "--base-dir ."} <= set(re.findall(r"--[\w-]+(?: [^-]\S*)?", build))
    functions = [each for each in read_template()["Resources"].values() if each["Type"] == "AWS::Serverless::Function"]
    assert [each["Metadata"] for each in functions] == [{"BuildMethod": "makefile"}] * 4
    built = dry_run("build-Ingest", "ARTIFACTS_DIR=somewhere", "CODE=mine more.py").stdout
    copied = re.findall(r"\bcp (?:-r )?(.*) somewhere/\S*$", built, re.MULTILINE)
    native = "build/native/native.aarch64.so"
    assert copied == ["src/fastetl", native, "fastetl.toml", "mine more.py"]


def test_an_architecture_that_lambda_has_not_is_refused() -> None:
    done = dry_run("build-Ingest", "ARCH=aarch64", "ARTIFACTS_DIR=somewhere")
    assert done.returncode == 2
    assert "ARCH is arm64 or x86_64, not aarch64" in done.stderr


@pytest.mark.parametrize("function", ["Ingest", "Backfill", "Coordinator"])
def test_a_package_holds_neither_the_command_line_nor_the_stand_ins_nor_the_tuner(function: str) -> None:
    built = dry_run(f"build-{function}", "ARTIFACTS_DIR=somewhere").stdout
    removed = re.search(r"cp -r src/fastetl somewhere/\n\s*rm -rf (.*)", built)
    assert removed
    assert removed[1].split() == [f"somewhere/fastetl/{name}" for name in ("cli", "local", "tune")]


def test_a_wheel_has_the_native_pass_of_both_processors(finish: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for architecture, name in finish.NATIVE.items():
            archive.extract(f"fastetl/decode/{name}", tmp_path)
            assert finish.read_machine(tmp_path / "fastetl/decode" / name) == finish.MACHINES[architecture]


def test_processes_that_build_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "native/build.py"), "aarch64", str(tmp_path)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        _, stderr = process.communicate()
        assert process.returncode == 0, stderr
    assert [path.name for path in tmp_path.iterdir()] == ["native.aarch64.so"]


# --- the locks --------------------------------------------------------------------------------------------------------

LIST_DISTRIBUTIONS = """
import importlib, importlib.metadata, json, sys
importlib.import_module("fastetl.lambdas." + sys.argv[1])
found = importlib.metadata.packages_distributions()
print(json.dumps([found.get(name.partition(".")[0], []) for name in sys.modules]))
"""

NOT_NEEDED = {"fastetl", "certifi", "setuptools", "awslambdaric", "simplejson", "snapshot-restore-py"}
"""The package's own code; what botocore does without; what virtual environments bring; the runtime's own client."""


@pytest.mark.parametrize("tracing", ["false", "true"])
@pytest.mark.parametrize(
    ("root", "lock"), [("ingest", "ingest"), ("backfill", "ingest"), ("coordinator", "coordinator")]
)
def test_what_a_function_imports_is_in_its_lock(root: str, lock: str, tracing: str) -> None:
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "AWS_DEFAULT_REGION": "us-east-1", "FASTETL_CONFIG": str(ROOT / "packaging/fastetl.toml"),
        "FASTETL_BUCKET": "bucket", "FASTETL_LEDGER_TABLE": "ledger", "FASTETL_REDSHIFT_WORKGROUP": "local",
        "FASTETL_TRACING": tracing, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
    }  # fmt: skip
    command = [sys.executable, "-c", LIST_DISTRIBUTIONS, root]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    imported = {normalise(name) for names in json.loads(done.stdout.splitlines()[-1]) for name in names}
    locked = re.findall(r"^([\w.-]+)==", (ROOT / f"requirements/{lock}.txt").read_text(), re.MULTILINE)
    assert len(imported) > 10
    assert ("aws-xray-sdk" in imported) == (tracing == "true" and root != "backfill")
    assert imported - NOT_NEEDED <= set(map(normalise, locked))


@pytest.mark.parametrize("lock", ["ingest", "coordinator"])
def test_no_function_carries_what_only_the_command_line_needs(lock: str) -> None:
    locked = re.findall(r"^([\w.-]+)==", (ROOT / f"requirements/{lock}.txt").read_text(), re.MULTILINE)
    assert not {"click", "rich", "moto", "duckdb"} & set(map(normalise, locked))


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
