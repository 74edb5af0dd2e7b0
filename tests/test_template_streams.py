"""The template of several streams: each has a mapping, a permission and alarms of its own; all else is there once."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.template import ROOT, parse_template, read_template, resolve

CONFIG = ROOT / "tests/three_streams.toml"
EACH = ("IngestMapping", "EventsGivenUp", "EventsDropped")


@pytest.fixture(scope="module")
def streams() -> Any:
    spec = importlib.util.spec_from_file_location("streams", ROOT / "packaging/streams.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_streams_of_a_configuration_are_counted_once_each(streams: Any) -> None:
    assert streams.count_streams(CONFIG.read_text()) == 3
    assert streams.count_streams((ROOT / "packaging/fastetl.toml").read_text()) == 1
    two_of_a_table = CONFIG.read_text() + CONFIG.read_text().replace("2026-01-01", "2027-01-01")
    assert streams.count_streams(two_of_a_table) == 3


def test_a_template_of_one_stream_is_the_template(streams: Any) -> None:
    assert parse_template(streams.repeat((ROOT / "template.yaml").read_text(), 1)) == read_template()


@pytest.mark.parametrize("number", [2, 3, 7])
def test_every_stream_has_a_mapping_and_alarms_like_the_first(streams: Any, number: int) -> None:
    one, many = read_template(), parse_template(streams.repeat((ROOT / "template.yaml").read_text(), number))
    suffixes = ["", *map(str, range(2, number + 1))]
    assert set(many["Resources"]) == set(one["Resources"]) | {name + suffix for name in EACH for suffix in suffixes}
    for suffix in suffixes[1:]:
        assert many["Parameters"][f"StreamArn{suffix}"] == one["Parameters"]["StreamArn"]
        mapping = many["Resources"][f"IngestMapping{suffix}"]
        expected = one["Resources"]["IngestMapping"]["Properties"] | {"EventSourceArn": {"Ref": f"StreamArn{suffix}"}}
        assert mapping == one["Resources"]["IngestMapping"] | {"Properties": expected}
        for alarm in EACH[1:]:
            properties = many["Resources"][alarm + suffix]["Properties"]
            dimensions = [{"Name": "EventSourceMappingUUID", "Value": {"Ref": f"IngestMapping{suffix}"}}]
            assert properties == one["Resources"][alarm]["Properties"] | {"Dimensions": dimensions}
    for name in set(one["Resources"]) - {*EACH, "IngestRole", "Coordinator", "CoordinatorRole"}:
        assert many["Resources"][name] == one["Resources"][name]
    for role, sid in (("IngestRole", "Streams"), ("CoordinatorRole", "Shards")):
        (readable,) = [
            statement["Resource"]
            for statement in many["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
            if statement.get("Sid") == sid
        ]
        assert readable == [{"Ref": f"StreamArn{suffix}"} for suffix in suffixes]
    variables = many["Resources"]["Coordinator"]["Properties"]["Environment"]["Variables"]
    assert variables == {
        "FASTETL_MAPPINGS": {"Fn::Join": [",", [{"Ref": f"IngestMapping{suffix}"} for suffix in suffixes]]}
    }


@pytest.mark.parametrize("number", [0, 51])
def test_a_number_of_streams_that_no_stack_can_have_is_refused(streams: Any, number: int) -> None:
    with pytest.raises(ValueError, match=f"{number} streams; a stack reads 1 to 50"):
        streams.repeat("", number)


def test_a_configuration_without_pipelines_is_refused_with_its_name(tmp_path: Path) -> None:
    config, written = tmp_path / "fastetl.toml", tmp_path / "build/template.yaml"
    command = [sys.executable, "packaging/streams.py", "template.yaml", str(config), str(written)]
    for text, problem in ((None, "No such file"), ("", "0 streams"), ("[[pipelines", "Expected")):
        if text is not None:
            config.write_text(text)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert str(config) in done.stderr
        assert problem in done.stderr
        assert "Traceback" not in done.stderr
        assert not written.exists()


@pytest.mark.parametrize(("in_use", "seconds"), [("yes", -1), ("no", 72000)])
def test_nothing_is_given_up_for_its_age_on_the_first_day(in_use: str, seconds: int) -> None:
    """A stream keeps records for 24 hours: what is older than 20 when the mapping comes would be given up unread."""
    template = read_template()
    assert template["Parameters"]["StreamsWereInUse"]["Default"] == "yes"
    mapping = resolve(template, StreamsWereInUse=in_use)["Resources"]["IngestMapping"]["Properties"]
    assert int(mapping["MaximumRecordAgeInSeconds"]) == seconds
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
