"""Read `fastetl.toml`: every problem is found in one pass, each with its place and its remedy."""

from __future__ import annotations

import difflib
import re
import tomllib
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from fastetl.columns import RULES, Column, Encoding, Misfit, RedshiftType, TimeFormat
from fastetl.config.enrichments import OPTIONS, Filter
from fastetl.config.model import (
    ALL,
    BESIDE,
    BESIDE_OUTPUTS,
    Config,
    Deletes,
    Enrichment,
    FileFormat,
    Grantee,
    LoadPolicy,
    OnError,
    Output,
    Pipeline,
    RedshiftTarget,
)
from fastetl.config.naming import find_naming_problems
from fastetl.config.storage import DistStyle, Storage, parse_sortkey
from fastetl.config.toml_tables import Table
from fastetl.errors import ConfigError, Problem
from fastetl.identifiers import find_name_problem, find_schema_problem, find_table_problem
from fastetl.limits import MAX_PART_BYTES, MIN_PART_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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

MIN_SPLIT_BYTES, MAX_SPLIT_BYTES = 1024**2, 4 * 1024**3
"""Compressed, about a tenth: COPY likes files of 1 MB to 1 GB (Amazon Redshift Database Developer Guide)."""

MIN_JOIN_AT, MAX_LOADS_AT_ONCE = 0.01, 50
"""With a smaller share, loads of a few seconds' changes would follow each other while the warehouse is awake; more
queries than 50 at once is what an automatic queue of Redshift refuses ("Quotas and limits in Amazon Redshift")."""

MAX_USER_STATEMENTS = 12
"""pre_sql and post_sql together: a transaction has at most 40 statements, and loading takes up to 28."""

_UNITS = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_QUANTITY = re.compile(r"(\d+)\s*([A-Za-z]*)")
_PIPELINE_PLACE = re.compile(r"pipelines\[(\d+)\]")
_ENDS_TRANSACTION = re.compile(
    r"^\s*(truncate|commit|end|rollback|abort|begin|start|vacuum|call|(create|drop)\s+database|alter\s+table\s.*append)\b",
    re.IGNORECASE,
)


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
        raise ConfigError((Problem("fastetl.toml", f"not TOML: {error}", "Mend the line that is named"),)) from error
    said = {setting: environ[variable] for setting, variable in ENVIRONMENT.items() if environ.get(variable)}
    reader = _Reader(said)
    config = reader.config(Table(reader.problems, {**document, **_without_section(said, "")}, ""))
    return config, reader.problems


def _without_section(said: Mapping[str, str], section: str) -> dict[str, str]:
    """Give the settings of one section by their own names."""
    parted = ((setting.rpartition("."), value) for setting, value in said.items())
    return {name: value for (found, _, name), value in parted if found == section}


def _override(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Put settings of a warehouse over others; a setting takes the place of those that exclude it."""
    displaced = {name for setting in above for name in _EXCLUDES.get(setting, ()) if name not in above}
    return {name: value for name, value in below.items() if name not in displaced} | dict(above)


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
        self.problems += _find_disagreements(pipelines)
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
        columns = tuple(self._column(each) for each in table.tables("columns"))
        schema, target = self._target(table)
        pipeline = Pipeline(
            name=name,
            table=source,
            stream_arn=stream_arn,
            source=table.take("source", Literal["stream", "kinesis"], "stream"),
            keys=table.take("keys", tuple[str, ...]),
            schema=schema,
            target=target,
            columns=columns,
            outputs=table.take("outputs", frozenset[Output], frozenset({"mirror"})),
            deletes=table.take("deletes", Deletes, "forget"),
            enrichments=tuple(self._enrichment(each) for each in table.tables("enrichments")),
            undeclared=table.take("undeclared", Literal["ignore", "extra", "reject"], "ignore"),
            extra_column=table.take("extra_column", str, "_extra"),
            file=self._file(table.table("file")),
            load=self._load(table.table("load")),
            redshift=self._redshift(table.table("redshift"), redshift),
            mirror=self._storage(table.table("mirror")),
            log=self._storage(table.table("log")),
        )
        table.done()
        if pipeline.source == "kinesis" and not re.fullmatch(
            r"arn:aws[a-z-]*:kinesis:[^:]+:\d{12}:stream/.+", stream_arn
        ):
            remedy = "Give the ARN of the Kinesis stream that the table writes to, or leave source out"
            self.problem(table.at("stream_arn"), f"{stream_arn!r} is no Kinesis stream", remedy)
        if not pipeline.outputs:
            self.problem(table.at("outputs"), "nothing would be loaded", 'Use ["mirror"], ["log"] or both')
        if pipeline.kept_deletes and "mirror" not in pipeline.outputs:
            remedy = "Leave it out: the log keeps every change, with what deleted items held"
            self.problem(table.at("deletes"), "it says what the mirror keeps, and there is no mirror", remedy)
        return pipeline

    def _target(self, table: Table) -> tuple[str, str]:
        schema, dot, target = table.take("target", str).partition(".")
        if not (schema and dot and target) or "." in target:
            remedy = 'Write it like "analytics.orders": schema and table; the database goes into [redshift]'
            self.problem(table.at("target"), "no schema and table", remedy)
            return schema, ""
        suffixes = (ALL, *BESIDE, *(suffix for each in BESIDE_OUTPUTS.values() for suffix in each))
        if problem := find_schema_problem(schema) or find_table_problem(target, suffixes):
            self.problem(table.at("target"), problem, "Choose another name")
        return schema, target

    def _column(self, table: Table) -> Column:
        name = table.take("name", str)
        column = Column(
            name=name,
            path=table.parse("path", (name,), _parse_path),
            type=self._type(table, "type"),
            on_misfit=table.take("on_misfit", Misfit, "reject"),
            time_format=table.take("time_format", TimeFormat, "iso8601"),
        )
        table.done()
        if column.on_misfit == "truncate" and not column.type.rule.shorten:
            remedy = 'Use "reject", "null" or "fail"'
            self.problem(table.at("on_misfit"), f"nothing of a {column.type} can be cut off", remedy)
        if column.time_format != "iso8601" and not column.type.rule.takes_time_format:
            self.problem(table.at("time_format"), f"{column.type} is no time", "Leave it out")
        return column

    def _type(self, table: Table, name: str) -> RedshiftType:
        text = table.take(name, str)
        try:
            return RedshiftType.parse(text)
        except ValueError as error:
            if text:
                near = difflib.get_close_matches(text.upper().split("(")[0], RULES, 1)
                hint = f"Did you mean {near[0]}?" if near else f"Use one of {', '.join(RULES)}"
                self.problem(table.at(name), str(error), hint)
            return RedshiftType("VARCHAR", length=256)

    def _enrichment(self, table: Table) -> Enrichment:
        kind = table.take("kind", Literal[tuple(OPTIONS)])
        inputs = table.take("inputs", tuple[str, ...], ())
        outputs = tuple(self._output(each) for each in table.tables("outputs"))
        on_error = table.take("on_error", OnError, "reject")
        known = len(self.problems)
        if kind not in OPTIONS:
            # A problem is noted already; the outputs count all the same, so that what uses them is no problem as well.
            return Enrichment(Filter(""), inputs, outputs, on_error)
        options = table.take_all(OPTIONS[kind])
        table.done()
        if len(self.problems) == known:
            for setting, message, remedy in options.problems(inputs, [name for name, _ in outputs]):
                self.problem(table.at(setting), message, remedy)
        return Enrichment(options, inputs, outputs, on_error)

    def _output(self, table: Table) -> tuple[str, RedshiftType]:
        output = (table.take("name", str), self._type(table, "type"))
        table.done()
        return output

    def _file(self, table: Table) -> FileFormat:
        default = FileFormat()
        file = FileFormat(
            delimiter=table.take("delimiter", str, default.delimiter),
            compression=table.take("compression", Literal["gzip", "zstd", "none"], default.compression),
            null_marker=table.take("null", str, default.null_marker),
            part_size_bytes=table.parse("part_size", default.part_size_bytes, _parse_bytes),
            max_parts_in_flight=table.take("max_parts_in_flight", int, default.max_parts_in_flight),
            split_bytes=table.parse("split_size", default.split_bytes, _parse_bytes),
        )
        table.done()
        if len(file.delimiter) != 1 or not file.delimiter.isascii() or file.delimiter in '"\r\n\0\\':
            message = f"{file.delimiter!r} is no delimiter"
            self.problem(table.at("delimiter"), message, "Use one ASCII character, not the quote, CR, LF or backslash")
        marker = file.null_marker
        if marker != r"\N" and not re.fullmatch(r"[A-Za-z0-9_.<>-]+", marker):
            self.problem(table.at("null"), f"{marker!r} is no null marker", r"Use \N, or letters, digits and _.<>-")
        if file.delimiter in marker:
            self.problem(table.at("null"), "it holds the delimiter", "Choose another marker or another delimiter")
        if not MIN_PART_BYTES <= file.part_size_bytes <= MAX_PART_BYTES:
            self.problem(table.at("part_size"), "out of S3's range", "Choose from 5 MiB to 5 GiB")
        if not MIN_SPLIT_BYTES <= file.split_bytes <= MAX_SPLIT_BYTES:
            self.problem(table.at("split_size"), "out of range", "Choose from 1 MiB to 4 GiB")
        if not 1 <= file.max_parts_in_flight <= 64:  # noqa: PLR2004 - more connections than a Lambda has use for
            self.problem(table.at("max_parts_in_flight"), "out of range", "Choose from 1 to 64")
        return file

    def _load(self, table: Table) -> LoadPolicy:
        default = LoadPolicy()
        policy = LoadPolicy(
            max_bytes=table.parse("max_bytes", default.max_bytes, _parse_bytes),
            max_age_seconds=table.parse("max_age", default.max_age_seconds, parse_seconds),
            max_files=table.take("max_files", int, default.max_files),
            pre_sql=table.take("pre_sql", tuple[str, ...], ()),
            post_sql=table.take("post_sql", tuple[str, ...], ()),
        )
        table.done()
        if not 1 <= policy.max_files <= default.max_files:
            self.problem(table.at("max_files"), "out of range", f"Choose from 1 to {default.max_files:,}")
        for name, number in (("max_bytes", policy.max_bytes), ("max_age", policy.max_age_seconds)):
            if number < 1:
                self.problem(table.at(name), "must be more than nothing", "Leave it out for the default")
        for name in ("pre_sql", "post_sql"):
            for sql in getattr(policy, name):
                if _ENDS_TRANSACTION.search(sql) or ";" in sql.rstrip("; \n"):
                    remedy = "One statement each, none that begins or ends a transaction (TRUNCATE commits: use DELETE)"
                    self.problem(table.at(name), f"{sql[:40]!r} cannot run inside the load's transaction", remedy)
        if len(policy.pre_sql) + len(policy.post_sql) > MAX_USER_STATEMENTS:
            self.problem(table.at("pre_sql"), "too many statements", f"At most {MAX_USER_STATEMENTS} with post_sql")
        return policy

    def _storage(self, table: Table) -> Storage:
        storage = Storage(
            diststyle=table.take("diststyle", DistStyle, "KEY"),
            distkey=table.take("distkey", str, ""),
            sortkey=table.parse("sortkey", None, parse_sortkey),
            encode=table.take("encode", dict[str, Encoding], {}),
        )
        table.done()
        return storage

    def _redshift(self, table: Table, shared: dict[str, Any]) -> RedshiftTarget:
        merged = Table(
            self.problems,
            _override(_override(shared, table.rest()), _without_section(self._said, "redshift")),
            table.place,
        )
        target = RedshiftTarget(
            **{name: merged.take(name, str, getattr(RedshiftTarget(), name)) for name in _TARGET_TEXTS},
            grant_to=merged.parse("grant_to", (), _parse_grantees),
            join_at=merged.take("join_at", float, RedshiftTarget().join_at),
            loads_at_once=merged.take("loads_at_once", int, RedshiftTarget().loads_at_once),
        )
        merged.done()
        named = [("grant_to", each.name) for each in target.grant_to]
        for setting, name in (*named, ("load_user", target.load_user), ("database", target.database)):
            problem = find_name_problem(name) if name else ""
            if problem or "\\" in name:
                why = problem or f"{name!r} holds a backslash"
                self.problem(merged.at(setting), why, "Name it as Redshift knows it")
        if not MIN_JOIN_AT <= target.join_at <= 1:
            remedy = f"Choose from {MIN_JOIN_AT} to 1; 1 has each pipeline load by itself"
            self.problem(merged.at("join_at"), "out of range", remedy)
        if not 1 <= target.loads_at_once <= MAX_LOADS_AT_ONCE:
            self.problem(merged.at("loads_at_once"), "out of range", f"Choose from 1 to {MAX_LOADS_AT_ONCE}")
        if bool(target.workgroup) == bool(target.cluster):
            remedy = "Name a workgroup (Redshift Serverless) or a cluster, or set FASTETL_REDSHIFT_WORKGROUP"
            self.problem(merged.place, "exactly one of workgroup and cluster is needed", remedy)
        if target.db_user and not target.cluster:
            remedy = "Name the cluster, or leave it out: a workgroup knows its callers by their role"
            self.problem(merged.at("db_user"), "a user of a cluster, and there is no cluster", remedy)
        if target.db_user and target.secret_arn:
            self.problem(merged.at("db_user"), "db_user and secret_arn exclude each other", "Keep one")
        if target.iam_role != "default" and not re.fullmatch(
            r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+", target.iam_role
        ):
            self.problem(merged.at("iam_role"), "no role's ARN", 'Give an ARN, or "default"')
        return target


def _parse_grantees(value: Any) -> tuple[Grantee, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError("a list of texts is needed")
    return tuple(_parse_grantee(each) for each in value)


def _parse_grantee(text: str) -> Grantee:
    kind, _, name = text.partition(":")
    if kind in {"role", "group", "user"} and name:
        return msgspec.convert({"kind": kind, "name": name}, Grantee)
    if not text or " " in text:
        raise ValueError(f'{text!r} is nobody: write "role:<name>", "group:<name>", or a user\'s name')
    # The names of IAM's users have a colon as well: IAM:alice.
    return Grantee("user", text)


_EXCLUDES = {
    "workgroup": ("cluster", "db_user"), "cluster": ("workgroup",), "db_user": ("secret_arn",),
    "secret_arn": ("db_user",),
}  # fmt: skip
"""Settings of a warehouse, and what each takes the place of."""
_TARGET_TEXTS = ("database", "workgroup", "cluster", "db_user", "secret_arn", "iam_role", "load_user")


def _find_disagreements(pipelines: Sequence[Pipeline]) -> Iterator[Problem]:
    """Tell which pipelines would share one warehouse in different ways."""
    first: dict[str, tuple[int, Pipeline]] = {}
    for n, pipeline in enumerate(pipelines):
        m, other = first.setdefault(pipeline.redshift.warehouse, (n, pipeline))
        for setting in ("join_at", "loads_at_once"):
            here, there = getattr(pipeline.redshift, setting), getattr(other.redshift, setting)
            if here != there:
                message = f"{here} here and {there} at pipelines[{m}], in the same warehouse"
                yield Problem(f"pipelines[{n}].redshift.{setting}", message, "Set it once, in [redshift]")


def _parse_path(value: Any) -> tuple[str | int, ...]:
    parts = value.split(".") if isinstance(value, str) else value
    if not isinstance(parts, list) or not parts or not isinstance(parts[0], str):
        raise ValueError('a path is "a.b", or a list of names and list positions that begins with a name')
    for part in parts:
        if (
            isinstance(part, bool)
            or not isinstance(part, str | int)
            or part == ""
            or (isinstance(part, int) and part < 0)
        ):
            raise ValueError(f"{part!r} is neither a name nor a list position")
    return tuple(parts)


def _parse_bytes(value: Any) -> int:
    return _quantity(value, _UNITS, "a size is a number of bytes, or like 128 MiB")


def parse_seconds(value: Any) -> int:
    """Read an age: seconds, or with a unit.

    Args:
        value: a number of seconds, or a text like `90s`, `15m`, `2h`.

    Raises:
        ValueError: it is none.
    """
    return _quantity(value, _SECONDS, "an age is a number of seconds, or like 15m")


def _quantity(value: Any, units: dict[str, int], expected: str) -> int:
    match = _QUANTITY.fullmatch(str(value).strip())
    if isinstance(value, bool) or match is None or match[2].lower() not in units:
        raise ValueError(expected)
    return int(match[1]) * units[match[2].lower()]
