"""Every command with wrong arguments and in a bad environment: a sentence for each problem, and never a traceback."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from fastetl.aws import calls, clients
from fastetl.cli import app, commands
from tests.cli.test_cli import CONFIG, EVENT, free_port
from tests.conftest import CREDENTIALS

EXPECTED: dict[str, list[str]] = {
    "demo": ["--config", "fastetl.toml"],
    "init": ["--table", "orders", "--out", "made.toml"],
    "check": ["--online"],
    "transform": ["event.json"],
    "local": ["--config", "fastetl.toml"],
    "local env": ["--aws-port", "1"],
    "local sql": ["SELECT 1"],
    "local stop": ["--aws-port", "1"],
    "outputs": ["stack"],
    "ddl": ["--apply"],
    "backfill": ["--scan"],
    "verify-account": [],
    "status": [],
    "reconcile": [],
    "verify": ["--yes", "--settle", "0"],
    "schema diff": [],
    "load": ["--now"],
    "pause": ["--reason", "x"],
    "resume": [],
    "quarantine list": [],
    "quarantine show": ["abc"],
    "quarantine retry": ["abc"],
    "quarantine drop": ["abc", "--yes"],
    "rejects list": [],
    "rejects show": ["abc"],
    "rejects replay": ["abc"],
    "rejects drop": ["abc", "--yes"],
    "replay": [],
    "resync": ["--scan"],
    "reload": ["--into", "public.again"],
    "rebuild-ledger": [],
    "tune": ["--table", "orders"],
    "cost": ["--table", "orders"],
    "completion": ["bash"],
}
"""Each command as somebody would call it."""

FROM_ITEMS = ("init", "--table", "orders", "--items")

OFFLINE = {"transform", "completion", "demo", "local", "local env", "local sql", "local stop"}
"""These ask AWS for nothing."""

WITHOUT_CONFIGURATION = {"init", "outputs", "completion", "local env", "local sql", "local stop"}


def find_commands(group: click.Group, path: str = "") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from [f"{path}{name}"] if command.invoke_without_command else []
            yield from find_commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}"


def test_every_command_is_tried() -> None:
    assert sorted(find_commands(commands)) == sorted(EXPECTED)


class Desk:
    """A folder with a configuration, and the command run in this process."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.patch, self._capsys = folder, patch, capsys
        (folder / "fastetl.toml").write_text(CONFIG)
        (folder / "event.json").write_text(json.dumps(EVENT))
        patch.chdir(folder)
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "FASTETL_CONFIG", "AWS_DEFAULT_REGION", "AWS_REGION"):
            patch.delenv(name, raising=False)
        for name, value in {
            "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        patch.setattr(clients, "SDK_ATTEMPTS", 1)
        patch.setattr(calls, "FIRST_DELAY_SECONDS", 0.0)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        self.patch.setattr(sys, "argv", ["fastetl", *arguments])
        with pytest.raises(SystemExit) as ended:
            app()
        printed = self._capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, monkeypatch, capsys)


def check(answer: tuple[int, str, str], what: str) -> str:
    code, out, err = answer
    assert code in {1, 2}, (what, answer)
    assert err.strip(), (what, answer)
    for text in (out, err):
        assert not re.search(r"Traceback|defect of fastetl|ExceptionGroup|\bClientError|\b_[A-Z]\w+|Errno", text), (
            answer
        )
    assert max(map(len, err.splitlines())) < 600, (what, err)
    return err


def remove_region(desk: Desk) -> str:
    return "region"


def remove_credentials(desk: Desk) -> str:
    desk.patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        desk.patch.delenv(name)
    return "Log in to AWS|credentials"


def name_a_profile_that_is_not_there(desk: Desk) -> str:
    desk.patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    desk.patch.setenv("AWS_PROFILE", "nobody")
    return "nobody.*Look at AWS_PROFILE"


def answer_nothing(desk: Desk) -> str:
    desk.patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    desk.patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    return "Could not connect to the endpoint"


def name_an_endpoint_that_is_none(desk: Desk) -> str:
    desk.patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    desk.patch.setenv("AWS_ENDPOINT_URL", "nonsense")
    return "AWS: Invalid endpoint: nonsense. .* is written like http://"


def name_another_protocol(desk: Desk) -> str:
    desk.patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    desk.patch.setenv("AWS_ENDPOINT_URL", "ftp://127.0.0.1")
    return "ftp://127.0.0.1"


def name_a_region_that_is_none(desk: Desk) -> str:
    desk.patch.setenv("AWS_DEFAULT_REGION", "not a region")
    return "AWS: .*'not a region'.*Look at the AWS_"


def break_the_profiles(desk: Desk) -> str:
    path = desk.folder / "config"
    path.write_text("[profile x\nregion")
    desk.patch.setenv("AWS_CONFIG_FILE", str(path))
    desk.patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return "config.*Look at the AWS_"


def name_certificates_that_are_not_there(desk: Desk) -> str:
    answer_nothing(desk)
    desk.patch.setenv("AWS_ENDPOINT_URL", "https://127.0.0.1:1")
    desk.patch.setenv("AWS_CA_BUNDLE", "/nowhere")
    return "No such file|Could not connect"


BROKEN_ENVIRONMENTS = (
    remove_region, remove_credentials, name_a_profile_that_is_not_there, answer_nothing, name_an_endpoint_that_is_none,
    name_another_protocol, name_a_region_that_is_none, break_the_profiles, name_certificates_that_are_not_there,
)  # fmt: skip


@pytest.mark.parametrize("break_it", BROKEN_ENVIRONMENTS)
@pytest.mark.parametrize("name", [name for name in EXPECTED if name not in OFFLINE])
def test_an_environment_in_which_aws_cannot_be_asked(name: str, break_it: Callable[[Desk], str], desk: Desk) -> None:
    said = break_it(desk)
    err = check(desk.run(*name.split(), *EXPECTED[name]), name)
    assert re.search(said, err), err


def remove_it(path: Path) -> None:
    path.unlink()


def make_it_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def write_broken_toml(path: Path) -> None:
    path.write_text("[[pipelines]\nname = ")


def write_no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


def write_nothing(path: Path) -> None:
    path.write_text("")


def name_a_function_that_is_not_there(path: Path) -> None:
    path.write_text(
        CONFIG.replace(
            "[pipelines.load]",
            '[[pipelines.enrichments]]\nkind = "function"\nfunction = "nowhere:add"\ninputs = ["id"]\n'
            'outputs = [{ name = "a", type = "DATE" }]\n[pipelines.load]',
        )
    )


@pytest.mark.parametrize("name", [name for name in EXPECTED if name not in WITHOUT_CONFIGURATION])
def test_a_configuration_that_cannot_be_used(name: str, desk: Desk) -> None:
    desk.patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    path = desk.folder / "fastetl.toml"
    for spoil in (write_broken_toml, write_no_text, write_nothing, remove_it, make_it_a_folder):
        if path.is_file() or not path.exists():
            path.write_text(CONFIG)
        spoil(path)
        answer = desk.run(*name.split(), *EXPECTED[name])
        check(answer, f"{name}, {spoil.__name__}")
        assert answer[0] == 2, (spoil.__name__, answer)


@pytest.mark.parametrize("name", EXPECTED)
def test_arguments_that_cannot_be_used(name: str, desk: Desk) -> None:
    for wrong in (["--nonsense"], [*EXPECTED[name], "too", "many", "words"], ["--config"]):
        answer = desk.run(*name.split(), *wrong)
        assert answer[0] == 2, answer
        assert f"`fastetl {name}" in check(answer, f"{name} {wrong}") or name == "local"
    code, out, err = desk.run(*name.split(), "--help")
    assert (code, err) == (0, "")
    assert f"Usage: fastetl {name}" in out


@pytest.mark.parametrize("name", EXPECTED)
def test_help_is_whole_sentences_and_every_option_has_a_unit(name: str, desk: Desk) -> None:
    command: click.Command = commands
    for word in name.split():
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
    _, out, _ = desk.run(*name.split(), "--help")
    assert "..." not in out.replace("fastetl_verify_...", "").replace("[ARGS]...", "")
    assert not re.search(r"^ {3,}", out.partition("Options:")[0], re.MULTILINE), (
        "a paragraph of its own is no quotation"
    )
    for option in command.params:
        if isinstance(option, click.Option):
            assert (option.help or "").endswith("."), option.name
            assert option.is_flag or option.metavar or isinstance(option.type, click.Choice | click.Path), option.name


@pytest.mark.parametrize("name", ["", "quarantine", "rejects", "schema"])
def test_a_group_alone_shows_its_commands(name: str, desk: Desk) -> None:
    code, out, err = desk.run(*name.split())
    assert (code, out) == (2, "")
    assert err == desk.run(*name.split(), "--help")[1]


TAKES_PIPELINE = [name for name in EXPECTED if name not in {*WITHOUT_CONFIGURATION, "demo", "local", "check", "replay"}]


@pytest.mark.parametrize("name", TAKES_PIPELINE)
def test_a_pipeline_that_is_not_there(name: str, desk: Desk) -> None:
    desk.patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    answer = desk.run(*name.split(), *EXPECTED[name], "-p", "nobody")
    assert answer[0] == 2
    assert "'nobody' is not a pipeline. Name one of orders" in check(answer, name)


@pytest.mark.parametrize("name", [name for name in EXPECTED if name not in {"completion", "local"}])
def test_an_error_is_json_where_json_is_asked_for(name: str, desk: Desk) -> None:
    code, out, err = desk.run(*name.split(), "--json", "--nonsense")
    (problem,) = json.loads(out)["problems"]
    assert code == 2
    assert problem["place"] == f"fastetl {name}"
    assert "--nonsense" in problem["message"]
    assert problem["remedy"] in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["transform", "nowhere.json"], "nowhere.json: No such file"),
        (["transform", "fastetl.toml"], "fastetl.toml is not an event of DynamoDB Streams"),
        (["transform", "."], "Is a directory"),
        (["check", "--config", "/dev/null"], "pipelines: there is none"),
        (["reconcile", "--from", "31.01.2026T00"], "'31.01.2026T00' is not an hour. Write it as 2026-01-31T00"),
        (["reconcile", "--from", "2026-02-01", "--to", "2026-01-01"], "--to: 2026-01-01 is not after 2026-02-01"),
        (["reload", "--into", "again"], "'again' is not a table"),
        (["schema", "diff", "--hours", "-1"], "-1"),
        (["backfill", "--workers", "-1"], "-1"),
        (["backfill", "--rate", "fast"], "'fast' is not a valid float"),
        (["backfill", "--rate", "nan"], "'nan' is not a finite number"),
        (["backfill", "--rate", "inf"], "'inf' is not a finite number"),
        (["backfill", "--export", "/nowhere"], "/nowhere/manifest-summary.json: No such file"),
        (["backfill", "--rate", "5"], "--rate: only --scan reads the table"),
        (["backfill", "--scan", "--export", "."], "--scan: an export that is there is not read from the table"),
        (["backfill", "--read-since-export"], "--read-since-export: it is about an export that is there"),
        (["backfill", "--export", "s3://bucket"], "--export: 's3://bucket' is not an export's folder"),
        (["resync", "--distributed", "machine"], "--distributed: 'machine' is not an ARN"),
        (["reload", "--into", "a.b.c"], "'b.c' holds a dot; name another table"),
        (["reload", "--into", "pg_x.orders"], "'pg_x' is a schema of Redshift's own"),
        (["pause", "--reason", " "], "it is empty; say why"),
        (["demo", "--config", "fastetl.toml"], "the demonstration carries the table `flights` alone"),
        (["tune", "--event", "broken.jsonl", "--rate", "1/s"], "not an event of DynamoDB Streams, but no JSON"),
        (["tune", "--event", "rows.jsonl", "--rate", "1/s"], "no records with keys"),
        (["schema", "diff", "--hours", "1e300"], "1e+300 is not in the range"),
        (["tune", "--window", "nan"], "'nan' is not a finite number"),
        (["tune", "--margin", "nan"], "'nan' is not a finite number"),
        (["load"], "--now"),
        (["pause"], "--reason"),
        ([*FROM_ITEMS, "nowhere.jsonl", "--keys", "id", "--out", "made.toml"], "nowhere.jsonl: No such file"),
        ([*FROM_ITEMS, "event.json", "--keys", "id", "--out", "fastetl.toml"], "is there already"),
        ([*FROM_ITEMS, "broken.jsonl", "--keys", "id", "--out", "made.toml"], "JSON lines"),
        (
            [*FROM_ITEMS, "rows.jsonl", "--keys", "id", "--out", "/nowhere/made.toml"],
            "/nowhere/made.toml: No such file",
        ),
        ([*FROM_ITEMS, "rows.jsonl", "--out", "made.toml"], "--keys: missing"),
        (["local", "env", "--aws-port", "0"], "0 is not in the range"),
        (["local", "sql", ""], "SQL"),
        (["local", "sql", "   "], "SQL"),
        (["local", "sql", "select 1", "--endpoint-url", "nonsense"], "is `fastetl local` running?"),
        (["local", "--aws-port", "0"], "0 is not in the range"),
        (["demo", "--flights", "1"], "1 is not in the range"),
        (["tune", "--prices", "nowhere.toml"], "nowhere.toml"),
        (["tune", "--measured", "nowhere.json"], "nowhere.json"),
        (["tune", "--measured", "broken.jsonl"], "broken.jsonl"),
        (["tune", "--event", "nowhere.json", "--rate", "1/s"], "nowhere.json"),
        (["nonsense"], "No such command 'nonsense'"),
        (["statsu"], "status"),
        (["quarantine", "nonsense"], "No such command 'nonsense'"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(arguments: list[str], said: str, desk: Desk) -> None:
    (desk.folder / "broken.jsonl").write_text("{")
    (desk.folder / "rows.jsonl").write_text('{"Item": {"id": {"S": "1"}}}')
    desk.patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert said in check(desk.run(*arguments), str(arguments))


def test_a_function_that_is_not_there_is_a_problem_of_the_configuration(desk: Desk) -> None:
    name_a_function_that_is_not_there(desk.folder / "fastetl.toml")
    for name in ("check", "transform"):
        arguments = [] if name == "check" else EXPECTED[name]
        assert "nowhere" in check(desk.run(name, *arguments), name)


def test_what_is_not_foreseen_names_the_place_and_debug_shows_the_rest(desk: Desk) -> None:
    from fastetl.cli import check as module  # noqa: PLC0415

    def fail(*_: Any, **__: Any) -> None:
        raise LookupError("a secret of somebody")

    desk.patch.setattr(module, "_check_offline", fail)
    code, out, err = desk.run("check")
    assert (code, out) == (1, "")
    assert re.search(r"a defect of fastetl: LookupError at cli/check\.py:\d+|at .*test_wrong_input", err), err
    assert "secret" not in err
    _, _, err = desk.run("check", "--debug")
    assert "Traceback" in err
    assert "a secret of somebody" in err


def test_a_stack_that_refuses_is_told_with_what_to_do(desk: Desk, moto_url: str) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": moto_url, "AWS_DEFAULT_REGION": CREDENTIALS["region_name"],
        "FASTETL_BUCKET": "bucket-of-nobody", "FASTETL_LEDGER_TABLE": "ledger-of-nobody",
    }.items():  # fmt: skip
        desk.patch.setenv(name, value)
    for name in ("status", "quarantine list", "reconcile"):
        err = check(desk.run(*name.split()), name)
        assert "whether the stack is deployed" in err, err
    err = check(desk.run("init", "--table", "nobody", "--out", "made.toml"), "init")
    assert "nobody" in err


def test_check_refuses_a_pipeline_whose_statements_would_not_fit(desk: Desk) -> None:
    columns = "\n".join(f'    {{ name = "{f"column_{n}":x<100}", type = "BIGINT" }},' for n in range(900))
    (desk.folder / "fastetl.toml").write_text(CONFIG.replace("columns = [\n", f"columns = [\n{columns}\n"))
    code, _, err = desk.run("check")
    assert code == 2
    assert "pipelines[0].columns: orders: the statement " in err
    assert "Shorten the names of its " in err


def test_what_only_a_deployment_knows_is_told_with_where_it_comes_from_once(desk: Desk) -> None:
    (desk.folder / "fastetl.toml").write_text((Path(__file__).parents[2] / "examples/people.toml").read_text())
    code, _, err = desk.run("status")
    assert (code, "bucket: missing" in err, "ledger_table: missing" in err) == (2, True, True)
    assert err.count('eval "$(fastetl outputs STACK)", or eval "$(fastetl local env)"') == 1
