"""Compare the configuration with the tables and with recent files."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from fastetl.columns import RedshiftType
from fastetl.config import NOT_LENGTHENED, REST
from fastetl.decode import TargetFinder, cut_name
from fastetl.identifiers import fold
from fastetl.load import FormerColumns
from fastetl.model import UNROUTED
from fastetl.operate.catalog import Catalog
from fastetl.operate.propose import Proposal, propose_columns
from fastetl.operate.recent_files import read_files_since
from fastetl.sql import add_column_sql, target_names, widen_column_sql

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from fastetl.aws import Deployment, Item
    from fastetl.config import Pipeline
    from fastetl.model import FileItem

LEFT = "fastetl no longer writes it: every row that a load writes has NULL there; it may be dropped"
"""Of a column that has left the configuration."""

SAMPLE = 1000
"""Items of the source table in which the values of undeclared attributes are looked up."""


class Difference(msgspec.Struct, frozen=True):
    """One column that a table and the configuration do not agree on."""

    table: str
    column: str
    """Empty where the whole table is missing."""
    what: str
    sql: str = ""
    """The ALTER statement that mends it, where one does."""
    remedy: str = ""
    """What mends it otherwise; both empty where nothing needs mending."""


class Seen(msgspec.Struct, frozen=True):
    """One kind of drift in the files of the last hours."""

    what: str
    """`ignored/<attribute>`, `misfit/<column>/<reason>` or `reject/<column>/<reason>`."""
    count: int
    as_asked: bool = False
    """Text that was truncated because the column says `on_misfit = "truncate"`: nothing is to be mended."""


class SchemaDiff(msgspec.Struct, frozen=True):
    """What does not agree, and what would make it agree."""

    pipeline: str
    differences: tuple[Difference, ...]
    seen: tuple[Seen, ...]
    proposals: tuple[Proposal, ...]
    """Columns for the undeclared attributes."""

    @property
    def needs_mending(self) -> bool:
        """Whether a load would fail, or values have been lost."""
        seen = any(not each.as_asked for each in self.seen)
        return seen or any(each.sql or each.remedy for each in self.differences)


class SchemaReader:
    """Compares one pipeline's columns."""

    def __init__(self, deployment: Deployment) -> None:
        """Describe the pipeline whose tables are compared.

        Args:
            deployment: of the pipeline.
        """
        self._pipeline = deployment.pipeline
        self._ledger = deployment.ledger
        self._former_columns = FormerColumns(deployment)
        self._catalog = Catalog(deployment)
        self._source = deployment.source
        self._clock = deployment.clock

    async def diff(self, hours: float) -> SchemaDiff:
        """Compare the configuration with the tables and with recent files.

        Args:
            hours: how far back files are looked at.

        Returns:
            What differs, what did not fit, and the columns that are proposed.
        """
        name, since = self._pipeline.name, int((self._clock() - hours * 3600) * 1000)
        files = [file async for file in read_files_since(self._ledger, name, since) if file.drift]
        truncated = {
            f"{part.name}.{each.name}" if self._pipeline.parts else each.name
            for part in self._pipeline.targets
            for each in part.columns
            if each.on_misfit == "truncate"
        }
        seen = sum_drift(files, truncated, unrouted_as_asked=self._pipeline.unrouted != "reject")
        ignored = [each.what.removeprefix("ignored/") for each in seen if each.what.startswith("ignored/")]
        items = await self._source.sample(SAMPLE) if ignored else []
        return SchemaDiff(
            pipeline=name,
            differences=await compare_all(self._pipeline, self._catalog, await self._former_columns.find()),
            seen=seen,
            proposals=propose_for(self._pipeline, items, ignored),
        )


def sum_drift(
    files: Iterable[FileItem], truncated: Container[str] = (), *, unrouted_as_asked: bool = False
) -> tuple[Seen, ...]:
    """Sum what files say of drift, the most frequent first.

    Args:
        files: of the ledger.
        truncated: names of the columns whose text is truncated where it is too long, as the configuration asks.
        unrouted_as_asked: whether the configuration says what becomes of items that no target takes.
    """
    total: Counter[str] = Counter()
    for file in files:
        # Records that were replayed are counted with the file that they became, if they were rejected again.
        ended = "reject/" if file.rejects_ended else "-"
        total.update({what: count for what, count in file.drift.items() if not what.startswith(ended)})

    def is_as_asked(what: str) -> bool:
        if what.startswith(UNROUTED):
            return unrouted_as_asked
        return what.startswith("misfit/") and what.split("/")[1] in truncated

    return tuple(
        Seen(what, count, as_asked=is_as_asked(what))
        for what, count in sorted(total.items(), key=lambda each: (-each[1], each[0]))
    )


def propose_for(pipeline: Pipeline, items: Iterable[Item], attributes: Iterable[str]) -> tuple[Proposal, ...]:
    """Propose columns for undeclared attributes, whose names may have been cut, by a sample of items."""
    sample = list(items)
    names = {cut_name(name): name for item in sample for name in item}
    declared = {column.path for column in pipeline.columns}  # since the files were written
    # Those of elements are of child tables.
    children = tuple(f"{part.name}." for part in pipeline.parts if part.rows_of)
    wanted = dict.fromkeys(names.get(name, name) for name in attributes if not (children and name.startswith(children)))
    wanted = {name: None for name in wanted if (name,) not in declared}
    if not pipeline.parts:
        return propose_columns(_choose(sample, wanted), first=list(wanted), taken=_list_names(pipeline))
    by_target: dict[str, list[Item]] = {}
    finder = TargetFinder(pipeline)
    for item in sample:
        target, _ = finder.find(item)
        by_target.setdefault(target, []).append(item)
    return tuple(
        msgspec.structs.replace(proposal, target=part.name)
        for part in pipeline.parts
        if not part.rows_of and part.name != REST
        for proposal in propose_columns(_choose(by_target.get(part.name, ()), wanted), taken=_list_names(part))
    )


def _choose(items: Iterable[Item], names: Container[str]) -> list[Item]:
    return [{name: value for name, value in item.items() if name in names} for item in items]


def _list_names(part: Pipeline) -> list[str]:
    return [name for name, _ in part.layout.columns]


async def compare_all(
    pipeline: Pipeline, catalog: Catalog, former_columns: tuple[tuple[str, tuple[str, ...]], ...] = ()
) -> tuple[Difference, ...]:
    """Hold the tables of all targets against the configuration.

    Args:
        pipeline: its targets.
        catalog: asks the warehouse.
        former_columns: by target, columns that loads no longer write.
    """
    former = dict(former_columns)
    found = [compare(part, await catalog.tables(part), former.get(part.name, ())) for part in pipeline.targets]
    return tuple(difference for differences in found for difference in differences)


def compare(
    pipeline: Pipeline, tables: Mapping[str, Mapping[str, str]], former_columns: Iterable[str] = ()
) -> tuple[Difference, ...]:
    """Hold the columns that tables have, with their types as text, against those that loads write."""
    former = {fold(column) for column in former_columns}
    differences: list[Difference] = []
    for name in target_names(pipeline):
        found = tables.get(fold(name))
        if not found:
            differences.append(Difference(name, "", "the table does not exist", remedy="Run `fastetl ddl --apply`"))
            continue
        declared = {fold(column): kind for column, kind in pipeline.layout.columns}
        for column, kind in declared.items():
            if difference := _compare_column(pipeline, name, column, kind, found.get(column)):
                differences.append(difference)
        differences += [
            Difference(name, column, LEFT if column in former else "not fastetl's: loads leave it alone")
            for column in found
            if column not in declared
        ]
    return tuple(differences)


def _compare_column(
    pipeline: Pipeline, name: str, column: str, kind: RedshiftType, there: str | None
) -> Difference | None:
    if there is None:
        sql = add_column_sql(pipeline, name, column, kind)
        return Difference(name, column, "missing: loads fail", sql)
    try:
        found = RedshiftType.parse(there)
    except ValueError:
        found = None
    if found and found.holds(kind):
        return None
    what = f"{there} in the table, {kind} in the configuration"
    if found and found.kind == kind.kind and kind.rule.lengthens:
        storage = pipeline.log if name == f"{pipeline.target}_log" else pipeline.mirror
        encoding = {fold(known): each for known, each in storage.encode.items()}.get(column)
        if encoding in NOT_LENGTHENED:
            remedy = f"Redshift lengthens no column with encoding {encoding}: ALTER it to ENCODE ZSTD first"
            return Difference(name, column, what, remedy=remedy)
        return Difference(name, column, what, widen_column_sql(pipeline, name, column, kind))
    remedy = "Redshift changes no type in place: declare a column of another name, or run `fastetl reload`"
    return Difference(name, column, what, remedy=remedy)
