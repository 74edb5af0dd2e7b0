"""Read `fastetl.toml`: every problem is found in one pass, each with its place and its remedy."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from fastetl.config.model import Config, Pipeline
from fastetl.config.naming import find_naming_problems
from fastetl.config.reading_policies import read_file, read_load
from fastetl.config.reading_targets import read_name, read_parts, read_tables
from fastetl.config.reading_warehouse import find_disagreements, read_redshift
from fastetl.config.targets import build_rest, split_pipeline
from fastetl.config.toml_tables import Table
from fastetl.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENT = {
    "bucket": "FASTETL_BUCKET",
    "ledger_table": "FASTETL_LEDGER_TABLE",
    "prefix": "FASTETL_PREFIX",
    "redshift.database": "FASTETL_REDSHIFT_DATABASE",
    "redshift.workgroup": "FASTETL_REDSHIFT_WORKGROUP",
    "redshift.cluster": "FASTETL_REDSHIFT_CLUSTER",
    "redshift.db_user": "FASTETL_REDSHIFT_DB_USER",
    "redshift.secret_arn": "FASTETL_REDSHIFT_SECRET_ARN",
    "redshift.iam_role": "FASTETL_REDSHIFT_IAM_ROLE",
    "redshift.load_user": "FASTETL_REDSHIFT_LOAD_USER",
}
"""Settings that differ between deployments of one configuration, and the variables that set them."""

_PIPELINE_PLACE = re.compile(r"pipelines\[(\d+)\]")


def parse_config(text: str, environ: Mapping[str, str]) -> Config:
    """Read a configuration from TOML.

    What the environment says wins over the file wherever the file says it: over `bucket`, `ledger_table` and `prefix`,
    and over the `[redshift]` of all pipelines and of each. A warehouse that it names takes the place of any other.

    Args:
        text: the content of `fastetl.toml`.
        environ: environment variables by name.

    Raises:
        ConfigError: with every problem, its place and its remedy.
    """
    config, problems = _read(text, environ)
    if problems:
        raise ConfigError(tuple(problems))
    return config


def parse_usable_config(text: str, environ: Mapping[str, str]) -> tuple[Config, tuple[Problem, ...]]:
    """Read a configuration as far as it can be used: without the pipelines that have problems, and with these.

    Args:
        text: the content of `fastetl.toml`.
        environ: environment variables by name.

    Returns:
        The configuration of the usable pipelines, and the problems of the others.

    Raises:
        ConfigError: nothing of it can be used.
    """
    config, problems = _read(text, environ)
    bad = {match[1] for problem in problems if (match := _PIPELINE_PLACE.match(problem.place))}
    usable = tuple(pipeline for n, pipeline in enumerate(config.pipelines) if str(n) not in bad)
    if not usable or any(not _PIPELINE_PLACE.match(problem.place) for problem in problems):
        raise ConfigError(tuple(problems))
    return msgspec.structs.replace(config, pipelines=usable), tuple(problems)


def _read(text: str, environ: Mapping[str, str]) -> tuple[Config, list[Problem]]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            (Problem("fastetl.toml", f"not TOML: {error}", "Mend it at the place that is named"),)
        ) from error
    said = {setting: environ[variable] for setting, variable in ENVIRONMENT.items() if environ.get(variable)}
    reader = _Reader(said)
    config = reader.config(Table(reader.problems, {**document, **_without_section(said, "")}, ""))
    return config, reader.problems


def _without_section(said: Mapping[str, str], section: str) -> dict[str, str]:
    """Give the settings of one section by their own names."""
    parted = ((setting.rpartition("."), value) for setting, value in said.items())
    return {name: value for (found, _, name), value in parted if found == section}


class _Reader:
    """Walks the file and gathers what is wrong with it; `said` is what the environment says, by setting."""

    def __init__(self, said: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self._said = said

    def problem(self, place: str, message: str, remedy: str) -> None:
        self.problems.append(Problem(place, message, remedy.rstrip(".")))

    def config(self, table: Table) -> Config:
        shared = table.table("redshift")
        defaults = shared.rest()
        bucket = self._needed(table, "bucket", r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "an S3 bucket's name")
        ledger_table = self._needed(table, "ledger_table", r"[A-Za-z0-9_.-]{3,255}", "a DynamoDB table's name")
        prefix = table.take("prefix", str, "")
        if prefix and not re.fullmatch(r"([A-Za-z0-9_.=-]+/)+", prefix):
            self.problem("prefix", f"{prefix!r} is no prefix", 'Write it like "fastetl/": letters, digits, a closing /')
        region = table.take("region", str, "")
        pipelines = [self._pipeline(each, defaults) for each in table.tables("pipelines")]
        table.done()
        if not pipelines:
            self.problem("pipelines", "there is none", "Add a [[pipelines]] table")
        self.problems += find_naming_problems(pipelines)
        self.problems += find_disagreements(pipelines)
        return Config(bucket, ledger_table, tuple(pipelines), prefix, region)

    def _needed(self, table: Table, name: str, pattern: str, what: str) -> str:
        value: str = table.take(name, str, "")
        if not re.fullmatch(pattern, value):
            message = f"{value!r} is not {what}" if value else "missing"
            self.problem(name, message, f"Set {name}, or {ENVIRONMENT[name]} in the environment")
        return value

    def _pipeline(self, table: Table, redshift: dict[str, Any]) -> Pipeline:
        name = table.take("name", str)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
            self.problem(table.at("name"), f"{name!r} cannot be part of S3's keys", "Use letters, digits, - and _")
        stream_arn = table.take("stream_arn", str, "")
        source = table.take("table", str, stream_arn.rpartition(":table/")[2].partition("/")[0])
        if not re.fullmatch(r"[A-Za-z0-9_.-]{3,255}", source):
            self.problem(table.at("table"), f"{source!r} is no DynamoDB table", "Name the table, or give stream_arn")
        parts = table.tables("targets")
        schema, target = read_name(table)
        pipeline = Pipeline(
            name=name,
            table=source,
            stream_arn=stream_arn,
            source=table.take("source", Literal["stream", "kinesis"], "stream"),
            keys=table.take("keys", tuple[str, ...]),
            schema=schema,
            target=target,
            undeclared=_read_undeclared(table, several=bool(parts)),
            extra_column=table.take("extra_column", str, "_extra"),
            file=read_file(table.table("file")),
            load=read_load(table.table("load")),
            redshift=read_redshift(table.table("redshift"), redshift, _without_section(self._said, "redshift")),
            unrouted=table.take("unrouted", Literal["reject", "ignore", "extra"], "reject") if parts else "reject",
            **({"columns": (), "outputs": frozenset()} if parts else read_tables(table)),
        )
        table.done()
        if pipeline.source == "kinesis" and not re.fullmatch(
            r"arn:aws[a-z-]*:kinesis:[^:]+:\d{12}:stream/.+", stream_arn
        ):
            remedy = "Give the ARN of the Kinesis stream that the table writes to, or leave source out"
            self.problem(table.at("stream_arn"), f"{stream_arn!r} is no Kinesis stream", remedy)
        if not parts:
            return pipeline
        targets = read_parts(parts, pipeline)
        if pipeline.unrouted == "extra" and pipeline.undeclared == "reject":
            message, remedy = (
                "it rejects what unrouted is to keep in the extra column",
                "Leave it out, or change unrouted",
            )
            self.problem(table.at("undeclared"), message, remedy)
        rest = [build_rest(pipeline, targets)] if pipeline.unrouted == "extra" else []
        return split_pipeline(pipeline, [*targets, *rest])


def _read_undeclared(table: Table, *, several: bool) -> Any:
    undeclared = table.take("undeclared", Literal["ignore", "extra", "reject"], "ignore")
    if several and undeclared == "extra":
        remedy = "Declare a column of type SUPER for what belongs together, or give a kind a pipeline of its own"
        table.problem(table.at("undeclared"), "with several targets there is no extra column", remedy)
    return undeclared
