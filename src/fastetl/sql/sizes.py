"""Whether every statement of a pipeline fits the Data API. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from fastetl import keys
from fastetl.config import Config, Pipeline
from fastetl.errors import Problem
from fastetl.limits import MAX_SQL_BYTES
from fastetl.model import LoadedBatch
from fastetl.sql.grants import load_grants_sql, load_privileges, privileges_sql, read_grants_sql
from fastetl.sql.load import load_sql, resolve_sql
from fastetl.sql.resync import tombstone_sql
from fastetl.sql.staging import Load
from fastetl.sql.tables import ddl_sql
from fastetl.sql.text import Statement
from fastetl.sql.verify import compare_sql, list_compared, repair_sql

LONGEST_ID = "f" * 32
"""A batch's; a checksum is as long."""

A_MOMENT = "2000-01-01 00:00:00.000000"

USERS_OWN = ("pre_sql", "post_sql")


def find_size_problems(config: Config) -> list[Problem]:
    """Find the pipelines that have a statement which the Data API would refuse for its size, and what to shorten.

    Args:
        config: whose bucket and prefix stand in the statements.

    Returns:
        A problem for each statement of `pre_sql` and `post_sql` that is too long, and one for the longest of fastetl's.
    """
    return [problem for n, each in enumerate(config.pipelines) for problem in _find(config, each, f"pipelines[{n}]")]


def _find(config: Config, pipeline: Pipeline, place: str) -> Iterator[Problem]:
    for setting in USERS_OWN:
        for n, sql in enumerate(getattr(pipeline.load, setting)):
            # A comment with the step and the batch precedes it.
            if _measure(Statement(setting, sql)) > MAX_SQL_BYTES - 200:
                message = (
                    f"{pipeline.name}: it has {len(sql.encode()):,} bytes, and the Data API takes {MAX_SQL_BYTES:,}"
                )
                yield Problem(f"{place}.load.{setting}[{n}]", message, "Shorten it, or put it into a view")
    longest = max(_build_each(config, pipeline), key=_measure)
    if (size := _measure(longest)) > MAX_SQL_BYTES:
        what = f"{pipeline.name}: the statement {longest.step!r} has {size:,} bytes"
        count = len(pipeline.layout.columns)
        yield Problem(
            f"{place}.columns",
            f"{what}, and the Data API takes {MAX_SQL_BYTES:,}",
            f"Shorten the names of its {count:,} columns by {1 - MAX_SQL_BYTES / size:.0%}, or declare fewer of them",
        )


def _build_each(config: Config, pipeline: Pipeline) -> Iterator[Statement]:
    """Build every kind of statement that names columns or tables, with the longest names that are put into it."""
    url = f"s3://{config.bucket}/"
    load = Load(
        batch_id=LONGEST_ID,
        attempt=1,
        layout=pipeline.layout,
        manifest_url=url + keys.manifest_key(config.prefix, pipeline.name, LONGEST_ID),
        manifest_checksum=LONGEST_ID,
        files_url=url + keys.files_key(config.prefix, pipeline.name, LONGEST_ID),
        changed_min=A_MOMENT,
        changed_max=A_MOMENT,
        since=A_MOMENT,
        owner=LONGEST_ID,
        complete_up_to=1,
    )
    yield from ddl_sql(pipeline)
    yield from (each for each in load_sql(pipeline, load) if each.step not in USERS_OWN)
    yield from resolve_sql(pipeline, LONGEST_ID, LONGEST_ID, 1, load.since, load.files_url)
    if "mirror" in pipeline.outputs:
        last = LoadedBatch(LONGEST_ID, attempt=1, changed_min=A_MOMENT)
        yield from tombstone_sql(pipeline, LONGEST_ID, 1, 0, follows=last)
        for parts in list_compared(pipeline):
            yield from compare_sql(pipeline, parts, pipeline.layout, load.manifest_url, below=1)
        yield from repair_sql(pipeline, LONGEST_ID, pipeline.layout, load.manifest_url, ())
    yield from read_grants_sql(pipeline)
    if pipeline.redshift.load_user:
        privileges = load_privileges(pipeline)
        yield from load_grants_sql(pipeline, privileges)
        yield from privileges_sql(pipeline, privileges)


def _measure(statement: Statement) -> int:
    return len(statement.sql.encode())
