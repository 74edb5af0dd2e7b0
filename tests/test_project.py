"""What the project says of itself: one version, a changelog that ends with it, templates that invent nobody."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import fastetl

ROOT = Path(__file__).parent.parent


def test_the_version_is_said_in_one_place() -> None:
    assert metadata.version("fastetl") == fastetl.__version__
    said = [
        path
        for path in (*ROOT.glob("src/**/*.py"), ROOT / "pyproject.toml", ROOT / "template.yaml")
        if f'"{fastetl.__version__}"' in path.read_text()
    ]
    assert said == [ROOT / "src/fastetl/__init__.py"]


def test_the_newest_release_of_the_changelog_is_this_version() -> None:
    releases = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert re.fullmatch(rf"{re.escape(fastetl.__version__)} - \d{{4}}-\d\d-\d\d", releases[0])
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", release) for release in releases)


def test_no_address_is_invented() -> None:
    texts = [*ROOT.glob(".github/**/*.*"), ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", ROOT / "pyproject.toml"]
    for path in texts:
        text = path.read_text()
        assert not re.findall(r"[\w.]+@[\w.]+\.\w+", text), path
        assert not re.findall(r"https?://(?:www\.)?github\.com/\S+", text), path
