"""Find columns of one table, and tables of one warehouse, whose names Redshift could not tell apart. Pure."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from fastetl.columns import SYSTEM_COLUMNS
from fastetl.config.model import RESERVED_NAMES, TEMPORARY_TABLES, WON_TABLES
from fastetl.config.storage import Storage
from fastetl.config.targets import ELEMENT_COLUMNS, REST
from fastetl.config.toml_tables import quote_toml
from fastetl.errors import Problem
from fastetl.identifiers import find_column_problem, fold
from fastetl.limits import MAX_STATEMENTS, MAX_TABLE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fastetl.config.model import Enrichment, Output, Pipeline

MAX_COLUMNS = MAX_TABLE_COLUMNS - 2
"""Of a pipeline: the view of a log's history has two more."""

LOAD_STATEMENTS = 18
"""Of the transaction that loads a batch for several targets, beside those of the targets themselves."""
OUTPUT_STATEMENTS: dict[Output, int] = {"mirror": 2, "log": 1}
"""That one output of a target takes (`sql.group`)."""
CHILD_STATEMENTS = 2
"""That a child table takes."""

_RESERVED = {name for name, _ in SYSTEM_COLUMNS} | set(RESERVED_NAMES)


def find_naming_problems(pipelines: Sequence[Pipeline]) -> Iterator[Problem]:
    """Tell which names Redshift, S3 or the events would not tell apart, and which it does not take."""
    yield from _find_doubled("name", [pipeline.name for pipeline in pipelines], "Give it a name of its own")
    yield from _check_sources(pipelines)
    yield from _check_tables(pipelines)
    for place, pipeline in _list_targets(pipelines):
        yield from _check_keys(place, pipeline)
        yield from _check_columns(place, pipeline)
        yield from _check_storages(place, pipeline)
    for n, pipeline in enumerate(pipelines):
        yield from _check_group(f"pipelines[{n}]", pipeline)


def _list_targets(pipelines: Sequence[Pipeline]) -> Iterator[tuple[str, Pipeline]]:
    """Give the targets of all pipelines with their places in the file."""
    for n, pipeline in enumerate(pipelines):
        for m, part in enumerate(pipeline.targets):
            is_written = pipeline.parts and part.name != REST
            yield f"pipelines[{n}].targets[{m}]" if is_written else f"pipelines[{n}]", part


def count_statements(pipeline: Pipeline) -> int:
    """Count the statements of the one transaction that loads a batch for several targets.

    Args:
        pipeline: with several targets.
    """
    own = len(pipeline.load.pre_sql) + len(pipeline.load.post_sql)
    targets = (
        CHILD_STATEMENTS if part.rows_of else sum(OUTPUT_STATEMENTS[output] for output in part.outputs)
        for part in pipeline.parts
    )
    return LOAD_STATEMENTS + own + sum(targets)


def _check_group(place: str, pipeline: Pipeline) -> Iterator[Problem]:
    """Check what targets have together: their names, their order, and the statements that load them."""
    names = [part.name for part in pipeline.parts]
    for m, name in enumerate(names):
        if names.index(name) != m:
            yield Problem(
                f"{place}.targets[{m}].name", f"{name!r} is at targets[{names.index(name)}] already", "Rename it"
            )
    takes_all = next((m for m, part in enumerate(pipeline.parts) if not part.when and not part.rows_of), len(names))
    for m, part in enumerate(pipeline.parts):
        if m > takes_all and part.name == REST:
            remedy = "Leave out unrouted, or give that target conditions"
            yield Problem(f"{place}.unrouted", f"nothing is left for it: targets[{takes_all}] takes all", remedy)
        elif m > takes_all and not part.rows_of:
            message = f"no item comes so far: targets[{takes_all}] has when = [], and takes all"
            yield Problem(f"{place}.targets[{m}].when", message, "Put the target without conditions last")
    if pipeline.parts and (needed := count_statements(pipeline)) > MAX_STATEMENTS:
        message = f"a load takes {needed} statements, and one transaction of the Data API has at most {MAX_STATEMENTS}"
        remedy = "A mirror or a child table takes 2, a log 1, a statement of pre_sql or post_sql 1: leave some out"
        yield Problem(f"{place}.targets", message, remedy)
    if pipeline.parts and (count := len(pipeline.layout.columns)) > MAX_TABLE_COLUMNS:
        message = f"files would have {count:,} columns, and a table that they are copied into {MAX_TABLE_COLUMNS:,}"
        remedy = "A file has, of each type, as many as the target with most of it: use fewer types, or fewer columns"
        yield Problem(f"{place}.targets", message, remedy)


def find_storage_warnings(pipelines: Sequence[Pipeline]) -> Iterator[Problem]:
    """Tell which changes of their tables Redshift will refuse because of how pipelines have them stored.

    Args:
        pipelines: of the configuration.
    """
    system = {name for name, _ in SYSTEM_COLUMNS}
    for place, pipeline in _list_targets(pipelines):
        columns = {name: kind for name, kind in pipeline.layout.columns if name not in system}
        for output, storage in pipeline.storages.items():
            for setting, message, remedy in storage.warnings(columns):
                yield Problem(f"{place}.{output}.{setting}", message, remedy)


def _find_doubled(setting: str, values: Sequence[str], remedy: str) -> Iterator[Problem]:
    for n, value in enumerate(values):
        if value and (first := values.index(value)) != n:
            yield Problem(f"pipelines[{n}].{setting}", f"{value!r} is at pipelines[{first}] already", remedy)


def _check_sources(pipelines: Sequence[Pipeline]) -> Iterator[Problem]:
    """Find tables that two pipelines read, or may read; the problem is the later pipeline's: the other goes on."""
    arns = [_name_table(pipeline) for pipeline in pipelines]
    for n, pipeline in enumerate(pipelines):
        namesakes = [m for m in range(n) if pipeline.table and pipelines[m].table == pipeline.table]
        same = next((m for m in namesakes if arns[m] == arns[n] or not (arns[m] and arns[n])), None)
        if same is not None:
            message = f"{pipeline.table!r} is at pipelines[{same}] already"
            remedy = (
                "Give one pipeline both outputs; two tables of one name each need stream_arn, which tells them apart"
            )
            yield Problem(f"pipelines[{n}].table", message, remedy)


def _name_table(pipeline: Pipeline) -> str:
    """Give the ARN of a pipeline's table: a Kinesis stream is in its account and region; empty where nothing tells."""
    if pipeline.source == "stream":
        return pipeline.table_arn
    # Amazon DynamoDB Developer Guide, "Kinesis Data Streams considerations": both are of one account and region.
    _, partition, _, region, account, *_ = f"{pipeline.stream_arn}:::::".split(":")
    return f"arn:{partition}:dynamodb:{region}:{account}:table/{pipeline.table}" if account else ""


def _check_tables(pipelines: Sequence[Pipeline]) -> Iterator[Problem]:
    taken: dict[tuple[str, ...], str] = {}
    groups = [(f"pipelines[{n}]", pipeline) for n, pipeline in enumerate(pipelines) if pipeline.parts]
    for place, pipeline in [*groups, *_list_targets(pipelines)]:
        to = pipeline.redshift
        for name in pipeline.relations if pipeline.target else ():
            key = (to.workgroup, to.cluster, fold(to.database), fold(pipeline.schema), fold(name))
            if (other := taken.setdefault(key, place)) != place:
                message = f"{pipeline.schema}.{name} is a table or view of {other} already"
                yield Problem(f"{place}.target", message, "Choose another name, or another schema")
                break
        if fold(pipeline.target) in TEMPORARY_TABLES or fold(pipeline.target).startswith(WON_TABLES):
            yield Problem(f"{place}.target", f"{pipeline.target!r} is a temporary table of every load", "Rename it")


def _check_storages(place: str, pipeline: Pipeline) -> Iterator[Problem]:
    every: tuple[tuple[Output, Storage], ...] = (("mirror", pipeline.mirror), ("log", pipeline.log))
    for output, storage in every:
        if output not in pipeline.outputs and storage != Storage():
            remedy = f'Add "{output}" to outputs, or leave it out'
            yield Problem(f"{place}.{output}", f"it says how the {output} is stored, and there is none", remedy)
        for setting, message, remedy in storage.problems(dict(pipeline.layout.columns)):
            yield Problem(f"{place}.{output}.{setting}", message, remedy)


def _check_keys(place: str, pipeline: Pipeline) -> Iterator[Problem]:
    if pipeline.rows_of:
        return
    names, wanted = pipeline.keys, (1, 2)  # a partition key, perhaps a sort key
    if len(names) not in wanted or len(set(names)) < len(names):
        yield Problem(f"{place}.keys", "a table has one or two key attributes, each once", 'Write keys = ["id"]')
    paths = {column.path for column in pipeline.columns}
    for name in dict.fromkeys(names):
        if not name:
            yield Problem(f"{place}.keys", "the name of a key attribute is empty", 'Write keys = ["id"]')
        elif (name,) not in paths:
            remedy = f"Add a column with path = [{quote_toml(name)}]"
            yield Problem(f"{place}.keys", f"no column carries the key attribute {name!r}", remedy)


def _check_columns(place: str, pipeline: Pipeline) -> Iterator[Problem]:
    elements = [name for name, _ in ELEMENT_COLUMNS] if pipeline.rows_of else []
    taken = {fold(name): f"fastetl's own column {name!r}" for name in (*_RESERVED, *elements)}
    for n, column in enumerate(pipeline.columns):
        yield from _check_name(f"{place}.columns[{n}].name", column.name, taken)
        if column.name.startswith("_") and fold(column.name) not in _RESERVED:
            yield Problem(f"{place}.columns[{n}].name", f"{column.name!r}: names with _ are fastetl's", "Rename it")
    known = {name for name, _ in SYSTEM_COLUMNS} | {*elements} | {column.name for column in pipeline.columns}
    if pipeline.undeclared == "extra":
        yield from _check_name(f"{place}.extra_column", pipeline.extra_column, taken)
        known.add(pipeline.extra_column)
    keys = {column.name for column in pipeline.columns if column.path[0] in pipeline.keys}
    for n, enrichment in enumerate(pipeline.enrichments):
        yield from _check_enrichment(f"{place}.enrichments[{n}]", enrichment, keys, known, taken)
    if (count := len(pipeline.layout.columns)) > MAX_COLUMNS:
        message = f"{count:,} columns, and a table and its views have at most {MAX_COLUMNS:,}"
        yield Problem(f"{place}.columns", message, 'Leave some out; undeclared = "extra" keeps them in one column')


def _check_enrichment(
    place: str, enrichment: Enrichment, keys: set[str], known: set[str], taken: dict[str, str]
) -> Iterator[Problem]:
    """Check what an enrichment reads and gives; adds what it gives to what is `known` and `taken`."""
    for name in enrichment.inputs:
        if name not in known:
            message = f"no column {name!r} is there before this enrichment"
            yield Problem(f"{place}.inputs", message, _did_you_mean(name, known))
    given: set[str] = set()
    for n, (name, _) in enumerate(enrichment.outputs):
        at = f"{place}.outputs[{n}].name"
        if name in keys:
            yield Problem(at, f"{name!r} is of the table's key, which no enrichment changes", "Name another column")
        elif fold(name) in given:
            yield Problem(at, f"{name!r} is an output of this enrichment already", "Name each output once")
        elif name not in known or name in _RESERVED:
            # An output that is there already, by exactly this name, is changed in place.
            yield from _check_name(at, name, taken)
            if name.startswith("_") and fold(name) not in _RESERVED:
                yield Problem(at, f"{name!r}: names with _ are fastetl's", "Rename it")
        given.add(fold(name))
    known.update(name for name, _ in enrichment.outputs)


def _check_name(place: str, name: str, taken: dict[str, str]) -> Iterator[Problem]:
    """Check a column's name, and that Redshift can tell it from those before it; adds it to what is `taken`."""
    remedy = "Choose another name; a column's path says which attribute it takes"
    if problem := find_column_problem(name):
        yield Problem(place, problem, remedy)
    elif other := taken.get(fold(name)):
        yield Problem(place, f"{name!r} cannot be told from {other}", remedy)
    taken.setdefault(fold(name), repr(name))


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    every = sorted(known)
    near = [each for each in every if fold(each) == fold(name)] or difflib.get_close_matches(name, every, 1)
    return f"Did you mean {near[0]!r}?" if near else "Declare the column, or correct the name"
