"""What AWS charges and how its services behave, as far as it cannot be measured here: each number with its source.

All of it can be overridden in a file: `fastetl tune --prices prices.toml`, with `region` and `priced_on`, which are
only shown, and tables `[prices]` and `[constants]`. Prices are those of us-east-1 in US dollars, without
free tiers and discounts; other regions need a file.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from fastetl.errors import ConfigError, Problem
from fastetl.limits import MAX_PAYLOAD_BYTES, MEMORY_MB_PER_CPU

if TYPE_CHECKING:
    from pathlib import Path

PRICED_ON = "2026-06-14"
"""The day of AWS's price list that the defaults are from."""


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """US dollars in us-east-1, by the price list of the day that is named with each."""

    lambda_gb_second_arm64: float = 0.0000133334
    """AWS Lambda pricing, 2026-05; first tier."""
    lambda_gb_second_x86_64: float = 0.0000166667
    """AWS Lambda pricing, 2026-06-14; first tier, initialisation included since August 2025."""
    lambda_million_requests: float = 0.20
    """AWS Lambda pricing, 2026-06-14."""
    s3_thousand_puts: float = 0.005
    """PUT, POST and each request of a multipart upload (Amazon S3 pricing, Standard, 2026-06-14)."""
    s3_thousand_gets: float = 0.0004
    """Amazon S3 pricing, Standard, 2026-06-14."""
    s3_gb_month: float = 0.023
    """Amazon S3 pricing, Standard, 2026-06-14."""
    dynamodb_million_writes: float = 0.625
    """On demand, up to 1 KB each (Amazon DynamoDB pricing, 2026-06-14)."""
    dynamodb_million_reads: float = 0.125
    """On demand, up to 4 KB each; eventually consistent ones count half (Amazon DynamoDB pricing, 2026-06-14)."""
    redshift_rpu_hour: float = 0.375
    """Amazon Redshift Serverless pricing, 2026-06-14."""
    cloudwatch_log_gb: float = 0.50
    """Ingested (Amazon CloudWatch pricing, 2026-06-14)."""
    cloudwatch_metric_month: float = 0.30
    """Custom, first tier (Amazon CloudWatch pricing, 2026-06-14)."""


class Constants(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How services behave. What is called an estimate here is one: replace it by what your account shows."""

    memory_of_one_cpu_mb: float = MEMORY_MB_PER_CPU
    """Lambda gives CPU in proportion to memory, one vCPU at 1,769 MB (Lambda Developer Guide)."""
    quota_period_seconds: float = 0.02
    """In each period a function may compute for its share of it (estimate: AWS does not say; Linux's own default is
    0.1)."""
    cpu_factor: float = 1.0
    """CPU time there as a multiple of CPU time here; `--calibrate` finds it from the functions' own reports."""
    init_factor: float = 1.0
    """The same for an environment's start; `--calibrate` finds it too (a starting function may get more CPU)."""
    more_memory_mb: float = 0.0
    """Memory used there beyond what is used here; `--calibrate` finds it too."""
    environment_seconds: float = 7200
    """After which an environment is replaced by a new one, whose start is billed (estimate: hours, says AWS)."""
    s3_put_seconds: float = 0.05
    """Until S3 has answered, without the transfer (estimate; Amazon S3 User Guide speaks of 0.1 to 0.2 at most)."""
    s3_bytes_per_second: float = 60e6
    """Of one upload (estimate)."""
    ledger_seconds: float = 0.01
    """Of the ledger's calls in one invocation (estimate: two calls of single-digit milliseconds)."""
    poll_seconds: float = 0.25
    """Lambda polls a shard four times a second (Lambda Developer Guide, "Using AWS Lambda with Amazon DynamoDB")."""
    payload_bytes: int = MAX_PAYLOAD_BYTES
    """Lambda's limit for an event (Lambda quotas)."""
    wake_up_seconds: float = 60
    """The coordinator's schedule in `template.yaml`."""
    coordinator_memory_mb: float = 512
    coordinator_seconds: float = 0.4
    """Billed per wake-up (estimate)."""
    coordinator_init_seconds: float = 2.0
    """Of a new environment: a second of CPU time, stretched (estimate by the benchmarks)."""
    copy_base_seconds: float = 8.0
    """Of a load, whatever its size: COPY, MERGE, bookkeeping, commit (estimate; SYS_QUERY_HISTORY shows yours)."""
    copy_seconds_per_file: float = 0.01
    """More for every file (estimate)."""
    copy_bytes_per_second: float = 20e6
    """Of compressed files (estimate for a small warehouse)."""
    redshift_minimum_seconds: float = 60
    """What an idle serverless workgroup charges when it wakes (Amazon Redshift pricing)."""
    redshift_rpus: float = 8
    """The workgroup's base capacity."""
    redshift_awake: float = 0.0
    """Share of the time in which the workgroup runs for others anyway, so that a load costs nothing more."""
    ledger_writes_per_file: float = 4.0
    """Registered and marked as loaded, each with its index entry; the table's PITR is not in it."""
    ledger_writes_per_load: float = 10.0
    """Two transactions of two items, which count twice, and the batch's own steps."""
    ledger_reads_per_file: float = 1.0
    ledger_reads_per_wake_up: float = 10.0
    """16 index keys, each half a unit at least, HEAD, and the batch that is open."""
    look_seconds: float = 120
    """The coordinator looks after each stream so often, and after each load (`load/watch.py`)."""
    list_seconds: float = 1200
    """It lists the files since the watermark after each load, and so often where there is none."""
    watermark_bytes: float = 700
    """Of the ledger's item, and for each shard more."""
    watermark_bytes_per_shard: float = 200
    log_bytes_per_invocation: float = 2500
    metrics: float = 25
    """Custom metrics that one pipeline sends."""
    days_kept: float = 90
    """Until the bucket's lifecycle moves files away (`DaysUntilGlacier`)."""
    shard_writes_per_second: float = 1000
    """Of a partition of the table, to which a shard of its stream corresponds (DynamoDB Developer Guide)."""


class Book(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that is not measured."""

    architecture: Literal["arm64", "x86_64"] = "arm64"
    region: str = "us-east-1"
    priced_on: str = PRICED_ON
    prices: Prices = Prices()
    constants: Constants = Constants()

    @property
    def gb_second(self) -> float:
        """Dollars for a GB of memory during a second."""
        arm64 = self.architecture == "arm64"
        return self.prices.lambda_gb_second_arm64 if arm64 else self.prices.lambda_gb_second_x86_64


def read_book(path: Path | None) -> Book:
    """Read a file of overrides, or give the defaults.

    Args:
        path: a TOML file; None for the defaults.

    Raises:
        ConfigError: the file cannot be read, or names what does not exist.
    """
    if path is None:
        return Book()
    try:
        content: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        book = msgspec.convert(content, Book)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError((Problem(str(path), str(reason), "See fastetl/tune/prices.py for the names"),)) from error
    negative = [
        f"{table}.{name}"
        for table in ("prices", "constants")
        for name, number in msgspec.structs.asdict(getattr(book, table)).items()
        if not 0 <= number < float("inf")
    ]
    if negative:
        raise ConfigError(tuple(Problem(name, "is negative", "Give 0 or more") for name in negative))
    return book
