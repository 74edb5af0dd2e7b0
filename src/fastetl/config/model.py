"""The configuration: what `fastetl.toml` may say, as typed values.

`parse_config` reads it, lets the environment override what differs between deployments, and reports every problem at
once. Sizes are bytes, ages seconds; in the file both may be written with a unit (`"128 MiB"`, `"15m"`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from fastetl.columns import SYSTEM_COLUMNS, Column, RedshiftType
from fastetl.config.conditions import Condition
from fastetl.config.enrichments import GeoIp, Lookup, Mask, Options
from fastetl.config.storage import Storage
from fastetl.config.targets import ELEMENT_COLUMNS, find_type_attribute, share_places
from fastetl.errors import EventError
from fastetl.model import ENCODER, Layout, Op

MIB = 1024 * 1024

Output = Literal["mirror", "log"]
"""`mirror`: the current rows. `log`: every change."""


BESIDE = ("_gate", "_loads", "_load_files", "_fences", "_resyncs", "_epochs", "_complete")
"""What the names of every pipeline's own tables, and of the view of its loads, add to the target's."""
BESIDE_OUTPUTS: dict[Output, tuple[str, ...]] = {"mirror": ("", "_current"), "log": ("_log", "_history")}
"""What the names of an output's tables and views add to the target's."""
ALL = "_all"
"""What the name of the view with deleted items adds to the target's, where the mirror keeps their values."""
Deletes = Literal["forget", "keep", "keep_expired"]
TARGET_NAME = RedshiftType("VARCHAR", length=64)
"""Of the column that tells a row's target, in the files of a pipeline with several."""
KEPT_DELETES: dict[Deletes, tuple[Op, ...]] = {"forget": (), "keep": ("REMOVE", "EXPIRE"), "keep_expired": ("EXPIRE",)}
"""After which deletions the mirror keeps the last values."""
TEMPORARY_TABLES = ("fastetl_staged", "fastetl_files", "fastetl_winners")
"""What a load makes in its session."""
WON_TABLES = "fastetl_won_"
"""What the names of those begin with that it makes for each of several mirrors."""
RESERVED_NAMES = ("_rank", "_valid_from", "_valid_to")
"""Columns of views and of a load, beside the system columns."""


class FileFormat(msgspec.Struct, frozen=True):
    """How files on S3 are written."""

    delimiter: str = ","
    """One ASCII character, not the quote, CR, LF or NUL."""
    compression: Literal["gzip", "zstd", "none"] = "gzip"
    """zstd files are a little smaller and take about the same time."""
    null_marker: str = "<N>"
    """Stands for SQL NULL; a text equal to it is a reject. Without a backslash, which a literal of SQL would escape."""
    part_size_bytes: int = 8 * MIB
    """A file from this size on goes up as a multipart upload, in parts of it."""
    max_parts_in_flight: int = 4
    """Parts of one file that go up at the same time, 1 to 64."""
    split_bytes: int = 128 * MIB
    """Of DynamoDB JSON that a backfill puts into one file: some 10 MiB compressed, of which COPY reads many at once."""


class LoadPolicy(msgspec.Struct, frozen=True):
    """When files are loaded, and what else runs in the same transaction."""

    max_bytes: int = 128 * MIB
    """A load starts when files of this size together wait, compressed."""
    max_age_seconds: int = 900
    """A load starts when the oldest file has waited this long. Each keeps Redshift Serverless awake for a minute."""
    max_files: int = 10_000
    """In one load, at most."""
    pre_sql: tuple[str, ...] = ()
    """After the COPY and before log and mirror change; the new rows are in `fastetl_staged`."""
    post_sql: tuple[str, ...] = ()
    """After log and mirror have changed, in the same transaction."""


class Grantee(msgspec.Struct, frozen=True):
    """Whom something is granted to."""

    kind: Literal["user", "role", "group"]
    name: str


class RedshiftTarget(msgspec.Struct, frozen=True):
    """One database, and as whom it is reached."""

    database: str = "dev"
    """The database that is loaded into."""
    workgroup: str = ""
    """Of Redshift Serverless; or else `cluster`."""
    cluster: str = ""
    """A provisioned cluster's identifier; or else `workgroup`."""
    db_user: str = ""
    """With a cluster: IAM gives a temporary password for this user."""
    secret_arn: str = ""
    """Of a Secrets Manager secret with user and password, instead of IAM."""
    iam_role: str = "default"
    """With which COPY reads S3: an ARN, or the namespace's or cluster's default role."""
    load_user: str = ""
    """The database user that loads, to which `ddl` grants what a load needs; empty: whoever owns the tables."""
    grant_to: tuple[Grantee, ...] = ()
    """Who may read the views and the log."""
    join_at: float = 0.1
    """A pipeline loads beside another one of the same warehouse, in the minute that is paid for, as soon as what waits
    has reached this share of its own `max_age`, `max_bytes` or `max_files`: from 0.01, nearly always, to 1, never."""
    loads_at_once: int = 10
    """Loads of different pipelines that run side by side in the warehouse, 1 to 50."""

    @property
    def warehouse(self) -> str:
        """The workgroup or the cluster: what is awake or asleep, and billed, as a whole."""
        return self.workgroup or self.cluster


OnError = Literal["reject", "null", "fail"]
"""The record is a reject, the outputs are NULL and counted as misfits, or the batch fails and is retried."""


class Enrichment(msgspec.Struct, frozen=True):
    """One step that adds columns to a frame, or takes rows out of it."""

    options: Options
    """Its kind, and the settings of that kind."""
    inputs: tuple[str, ...] = ()
    """Columns that it reads."""
    outputs: tuple[tuple[str, RedshiftType], ...] = ()
    """Columns that it gives, with their types; one that is there already is replaced. Numbers are rounded to the scale
    of a DECIMAL, half to even."""
    on_error: OnError = "reject"
    """What becomes of rows for which it has no value, since it fails on them or gives what does not fit: their records
    are rejects, their outputs are NULL and counted as misfits, or the batch is retried. No other row notices."""

    @property
    def kind(self) -> str:
        """`function`, `geoip`, `lookup`, `mask`, `expression` or `filter`."""
        return str(self.options.__struct_config__.tag)


class Pipeline(msgspec.Struct, frozen=True):
    """One table to one target."""

    name: str
    """Of the pipeline, and part of its keys on S3: letters, digits, - and _."""
    table: str
    """The DynamoDB table."""
    keys: tuple[str, ...]
    """Key attributes: the partition key, and the sort key if there is one."""
    schema: str
    target: str
    """Schema and table in Redshift, like `analytics.orders`; other tables and views are named after it."""
    columns: tuple[Column, ...]
    """The columns of the target, in their order."""
    stream_arn: str = ""
    """One stream of the table, which tells the table's account and region; without it they are the function's own. Of a
    Kinesis stream, its ARN."""
    source: Literal["stream", "kinesis"] = "stream"
    """DynamoDB Streams, or a Kinesis stream that the table writes to."""
    outputs: frozenset[Output] = frozenset({"mirror"})
    """`mirror`: the current rows; `log`: every change, with a view of the history."""
    deletes: Deletes = "forget"
    """What a deletion leaves in the mirror: `forget` the key and the version alone; `keep` the item's last values, and
    `_deleted` tells; `keep_expired` those of items that time to live deleted, and of others as `forget`."""
    enrichments: tuple[Enrichment, ...] = ()
    """Steps that add, change or mask columns, or take rows out; in this order."""
    undeclared: Literal["ignore", "extra", "reject"] = "ignore"
    """What happens to attributes that no column names."""
    extra_column: str = "_extra"
    """The SUPER column that keeps them, with `undeclared = "extra"`."""
    file: FileFormat = FileFormat()
    load: LoadPolicy = LoadPolicy()
    redshift: RedshiftTarget = RedshiftTarget()
    mirror: Storage = Storage()
    log: Storage = Storage()
    part_of: str = ""
    """Of a target among several: the pipeline's name."""
    when: tuple[Condition, ...] = ()
    """Of a target among several: what holds of its items; nothing where it takes all that no target before it takes."""
    rows_of: tuple[str, ...] = ()
    """Of a child table: the path of the list or map whose elements are its rows."""
    parent: str = ""
    """Of a child table: the target whose items hold the list or map."""
    parts: tuple[Pipeline, ...] = ()
    """The targets, where there are several; each with its own columns, enrichments and tables."""
    unrouted: Literal["reject", "ignore", "extra"] = "reject"
    """What becomes of items that no target takes: their records are rejects; they are left out; or they are rows of the
    pipeline's own target, with their key, and all else in `extra_column`. They are counted in each case."""

    @property
    def targets(self) -> tuple[Pipeline, ...]:
        """The targets: the pipeline itself where it has only one."""
        return self.parts or (self,)

    def children(self, parent: str) -> tuple[Pipeline, ...]:
        """Give the child tables of a target.

        Args:
            parent: the target's name.
        """
        return tuple(part for part in self.parts if part.rows_of and part.parent == parent)

    @property
    def lists(self) -> tuple[tuple[str, ...], ...]:
        """The paths of the lists and maps whose elements are rows of child tables, each once."""
        return tuple(dict.fromkeys(part.rows_of for part in self.parts if part.rows_of))

    @property
    def type_attribute(self) -> tuple[str, bool]:
        """The attribute that tells the kinds of items apart, or an empty text; and whether it is of the key."""
        return find_type_attribute(self.parts, self.keys)

    @property
    def keys_decide(self) -> bool:
        """Whether an item's key alone tells its target, so that no item ever moves from one to another."""
        conditions = [condition for part in self.parts for condition in part.when]
        return all(question.path[0] in self.keys for condition in conditions for question in condition.questions)

    @property
    def table_arn(self) -> str:
        """The ARN of the DynamoDB table, where `stream_arn` tells it; otherwise empty."""
        return self.stream_arn.partition("/stream/")[0] if self.source == "stream" else ""

    def reads(self, event_source_arn: str) -> bool:
        """Tell whether the pipeline reads a stream: of a table each of its streams, of a Kinesis stream this one.

        Args:
            event_source_arn: the stream's ARN, as events have it.
        """
        if self.source == "kinesis":
            return event_source_arn == self.stream_arn
        if self.stream_arn:
            return event_source_arn.partition("/stream/")[0] == self.table_arn
        _, is_of_a_table, rest = event_source_arn.rpartition(":table/")
        return bool(is_of_a_table) and rest.partition("/")[0] == self.table

    @property
    def relations(self) -> tuple[str, ...]:
        """The names of all tables and views that the pipeline has in its schema."""
        if self.parts:
            return tuple(self.target + suffix for suffix in BESIDE)
        suffixes = [suffix for output in sorted(self.outputs) for suffix in BESIDE_OUTPUTS[output]]
        return tuple(
            self.target + suffix
            for suffix in (*suffixes, *([ALL] if self.kept_deletes else []), *(() if self.part_of else BESIDE))
        )

    @property
    def kept_deletes(self) -> tuple[Op, ...]:
        """After which deletions the mirror keeps the last values, which are those of the change's old image."""
        kept = (op for part in self.parts for op in part.kept_deletes) if self.parts else KEPT_DELETES[self.deletes]
        return tuple(dict.fromkeys(kept))

    @property
    def keeps_old_images(self) -> bool:
        """Whether the row of a deletion has the values that the item had, as its old image tells them."""
        return "log" in self.outputs or bool(self.kept_deletes)

    @property
    def layout(self) -> Layout:
        """How this configuration writes files; of one target also the columns of its tables."""
        file = self.file
        if self.parts:
            places, located = share_places(self.parts)
            columns = (*SYSTEM_COLUMNS, ("_target", TARGET_NAME), *places)
            children = tuple(part.name for part in self.parts if part.rows_of)
            return Layout(columns, file.delimiter, file.compression, file.null_marker, ENCODER, located, children)
        outputs = [output for enrichment in self.enrichments for output in enrichment.outputs]
        declared = [(column.name, column.type) for column in self.columns]
        extra = [(self.extra_column, RedshiftType("SUPER"))] if self.undeclared == "extra" else []
        # An enrichment that changes a column in place names it among its outputs, with the type it has afterwards.
        elements = ELEMENT_COLUMNS if self.rows_of else ()
        named = dict([*SYSTEM_COLUMNS, *elements, *declared, *extra, *outputs])
        return Layout(tuple(named.items()), file.delimiter, file.compression, file.null_marker, ENCODER)

    @property
    def storages(self) -> dict[Output, Storage]:
        """How the tables of the outputs are stored."""
        every: dict[Output, Storage] = {"mirror": self.mirror, "log": self.log}
        return {output: storage for output, storage in every.items() if output in self.outputs}

    @property
    def references(self) -> tuple[str, ...]:
        """The files that this pipeline's enrichments read, each once: paths, and `s3://bucket/key`."""
        every = (enrichment.options for each in self.targets for enrichment in each.enrichments)
        return tuple(dict.fromkeys(each.source for each in every if isinstance(each, GeoIp | Lookup)))

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that this pipeline's enrichments read, each once."""
        every = (enrichment.options for each in self.targets for enrichment in each.enrichments)
        return tuple(dict.fromkeys(each.key_variable for each in every if isinstance(each, Mask) and each.key_variable))


class Config(msgspec.Struct, frozen=True):
    """Everything one deployment does."""

    bucket: str
    """The S3 bucket of files, rejects and manifests; `FASTETL_BUCKET` wins."""
    ledger_table: str
    """The DynamoDB table that says which files exist and which are loaded; `FASTETL_LEDGER_TABLE` wins."""
    pipelines: tuple[Pipeline, ...]
    """One for each table."""
    prefix: str = ""
    """Before every S3 key; empty, or ending in `/`."""
    region: str = ""
    """Of bucket and ledger; the SDK's own choice where it is empty."""

    @property
    def references(self) -> tuple[str, ...]:
        """The files that any pipeline's enrichments read, each once."""
        return tuple(dict.fromkeys(name for pipeline in self.pipelines for name in pipeline.references))

    def pipeline(self, name: str) -> Pipeline:
        """Give the pipeline of a name.

        Args:
            name: as the configuration has it.

        Raises:
            KeyError: there is none.
        """
        for pipeline in self.pipelines:
            if pipeline.name == name:
                return pipeline
        raise KeyError(name)

    def reads(self, event_source_arn: str) -> bool:
        """Tell whether any pipeline reads a stream.

        Args:
            event_source_arn: the stream's ARN, as events have it.
        """
        return any(pipeline.reads(event_source_arn) for pipeline in self.pipelines)

    def pipelines_for(self, event_source_arn: str, function_arn: str = "") -> tuple[Pipeline, ...]:
        """Give the pipelines that read a stream: of a table the one, of a Kinesis stream one for each of its tables.

        Args:
            event_source_arn: of the event's records.
            function_arn: of the function that was given the event. A pipeline without `stream_arn` reads the table of
                the function's own account and region; empty where any will do.

        Raises:
            EventError: no pipeline reads it. The event is not to be acknowledged: that would lose it.
        """
        found = [pipeline for pipeline in self.pipelines if pipeline.reads(event_source_arn)]
        if not found:
            raise EventError(f"no pipeline reads {event_source_arn}; add one, or take the event source mapping away")
        (account, region), (own_account, own_region) = map(_parse_place, (event_source_arn, function_arn))
        for pipeline in found if function_arn else ():
            if not pipeline.stream_arn and (account, region) != (own_account, own_region):
                raise EventError(
                    f"{event_source_arn} is of account {account} in {region}, and pipeline {pipeline.name} reads the"
                    f" table of this name of account {own_account} in {own_region}; name another one with stream_arn,"
                    " or take the event source mapping away"
                )
        return tuple(found)

    def takes_nameless(self, pipeline: Pipeline) -> bool:
        """Tell whether a pipeline rejects the records of its Kinesis stream that name no table: the first one does.

        Args:
            pipeline: one of the configuration's.
        """
        return pipeline.source != "kinesis" or self.pipelines_for(pipeline.stream_arn)[0].name == pipeline.name


def _parse_place(arn: str) -> tuple[str, str]:
    """Give an ARN's account and region (AWS General Reference, "Amazon Resource Names")."""
    _, _, _, region, account, *_ = f"{arn}:::::".split(":")
    return account, region
