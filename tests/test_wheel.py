"""The wheel in an empty environment: what works without extras, what other commands ask for, the demonstration."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastetl
from tests.cli.test_wrong_input import EXPECTED

ROOT = Path(__file__).parent.parent
UV = Path(sys.executable).with_name("uv")
WORKS_WITHOUT_EXTRAS = {"check", "transform", "ddl", "completion"}

pytestmark = pytest.mark.timeout(600)


class Installed:
    """An environment with the wheel in it and nothing of this project's own environment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, folder / "venv"], check=True)

    def install(self, wheel: Path, extra: str = "") -> None:
        """Install the wheel with the versions that the project is tested with."""
        what = f"fastetl[{extra}] @ {wheel.as_uri()}" if extra else str(wheel)
        locked = ["--constraints", str(ROOT / "requirements/dev.txt"), "--no-verify-hashes"]
        command = [UV, "pip", "install", "--quiet", "--python", self._folder / "venv", *locked, what]
        subprocess.run(command, check=True, cwd=self._folder)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command in an empty folder."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        command = [self._folder / "venv/bin/fastetl", *arguments]
        return subprocess.run(
            command, cwd=self._folder, env=kept, capture_output=True, text=True, check=False, timeout=300
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command: list[str | Path] = [UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*command, "--out-dir", folder, ROOT], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    made = Installed(tmp_path_factory.mktemp("bare"))
    made.install(wheel)
    return made


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    examples = ROOT / "examples"
    return str(examples / "people.toml"), str(examples / "event.json")


def test_the_makefile_builds_the_same_wheel() -> None:
    done = subprocess.run(["make", "--dry-run", "wheel"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "uv build --quiet --wheel --no-build-isolation" in done.stdout


def test_version_and_help_work_without_extras(bare: Installed) -> None:
    assert bare.run("--version").stdout == f"fastetl {fastetl.__version__}\n"
    done = bare.run("--help")
    assert done.returncode == 0
    for group in ("Try:", "Deploy:", "Watch:", "Mend:", "Tune:"):
        assert group in done.stdout
    for name in EXPECTED:
        assert bare.run(*name.split(), "--help").returncode == 0, name


def test_a_configuration_is_checked_and_an_event_transformed_without_extras(
    bare: Installed, example: tuple[str, str]
) -> None:
    config, event = example
    checked = bare.run("check", "--config", config)
    assert (checked.returncode, checked.stdout) == (0, "people: people -> public.people, 10 columns\n"), checked.stderr
    assert 'CREATE TABLE IF NOT EXISTS "public"."people"' in bare.run("ddl", "--config", config).stdout
    transformed = bare.run("transform", event, "--config", config, "--json")
    assert transformed.returncode == 0, transformed.stderr
    assert [row["name"] for row in json.loads(transformed.stdout)["rows"]] == ["Ada", "Ada Lovelace", None]
    assert "_FASTETL_COMPLETE" in bare.run("completion", "bash").stdout


@pytest.mark.parametrize("name", [name for name in EXPECTED if name not in WORKS_WITHOUT_EXTRAS])
def test_every_other_command_names_the_extra_that_it_needs(bare: Installed, name: str) -> None:
    done = bare.run(*name.split(), *EXPECTED[name])
    assert done.returncode == 2
    assert re.fullmatch(
        rf"fastetl {name} needs the extra `(cli|local)` \(not installed: [\w, -]+\): pip install 'fastetl\[\1\]'\.\n",
        done.stderr,
    ), done.stderr


def test_the_demonstration_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    full = Installed(tmp_path)
    full.install(wheel, "local")
    done = full.run("demo", "--flights", "200", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["mirror_equals_source"]
