"""Read how files are written and when they are loaded, with sizes and ages in their units."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from fastetl.config.model import FileFormat, LoadPolicy
from fastetl.limits import MAX_PART_BYTES, MIN_PART_BYTES

if TYPE_CHECKING:
    from fastetl.config.toml_tables import Table

MIN_SPLIT_BYTES, MAX_SPLIT_BYTES = 1024**2, 4 * 1024**3
"""Compressed, about a tenth: COPY likes files of 1 MB to 1 GB (Amazon Redshift Database Developer Guide)."""

MAX_USER_STATEMENTS = 12
"""pre_sql and post_sql together: a transaction has at most 40 statements, and loading takes up to 28."""

_UNITS = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_QUANTITY = re.compile(r"(\d+)\s*([A-Za-z]*)")
_ENDS_TRANSACTION = re.compile(
    r"^\s*(truncate|commit|end|rollback|abort|begin|start|vacuum|call|(create|drop)\s+database|alter\s+table\s.*append)\b",
    re.IGNORECASE,
)


def read_file(table: Table) -> FileFormat:
    """Read how files are written.

    Args:
        table: `[pipelines.file]`.
    """
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
        table.problem(table.at("delimiter"), message, "Use one ASCII character, not the quote, CR, LF or backslash")
    marker = file.null_marker
    if marker != r"\N" and not re.fullmatch(r"[A-Za-z0-9_.<>-]+", marker):
        table.problem(table.at("null"), f"{marker!r} is no null marker", r"Use \N, or letters, digits and _.<>-")
    if file.delimiter in marker:
        table.problem(table.at("null"), "it holds the delimiter", "Choose another marker or another delimiter")
    if not MIN_PART_BYTES <= file.part_size_bytes <= MAX_PART_BYTES:
        table.problem(table.at("part_size"), "out of S3's range", "Choose from 5 MiB to 5 GiB")
    if not MIN_SPLIT_BYTES <= file.split_bytes <= MAX_SPLIT_BYTES:
        table.problem(table.at("split_size"), "out of range", "Choose from 1 MiB to 4 GiB")
    if not 1 <= file.max_parts_in_flight <= 64:  # noqa: PLR2004 - more connections than a Lambda has use for
        table.problem(table.at("max_parts_in_flight"), "out of range", "Choose from 1 to 64")
    return file


def read_load(table: Table) -> LoadPolicy:
    """Read when files are loaded, and what else runs in the transaction.

    Args:
        table: `[pipelines.load]`.
    """
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
        table.problem(table.at("max_files"), "out of range", f"Choose from 1 to {default.max_files:,}")
    for name, number in (("max_bytes", policy.max_bytes), ("max_age", policy.max_age_seconds)):
        if number < 1:
            table.problem(table.at(name), "must be more than nothing", "Leave it out for the default")
    for name in ("pre_sql", "post_sql"):
        for sql in getattr(policy, name):
            if _ENDS_TRANSACTION.search(sql) or ";" in sql.rstrip("; \n"):
                remedy = "One statement each, none that begins or ends a transaction (TRUNCATE commits: use DELETE)"
                table.problem(table.at(name), f"{sql[:40]!r} cannot run inside the load's transaction", remedy)
    if len(policy.pre_sql) + len(policy.post_sql) > MAX_USER_STATEMENTS:
        table.problem(table.at("pre_sql"), "too many statements", f"At most {MAX_USER_STATEMENTS} with post_sql")
    return policy


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
