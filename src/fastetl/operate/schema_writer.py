"""The warehouse made as the configuration says: tables, columns, views and grants, in an order that works.

Each part is a transaction of its own, and a part that fails does not keep the others back. ALTER COLUMN runs in no
transaction (Redshift Database Developer Guide, ALTER TABLE). Nothing is dropped but a view whose columns change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fastetl.config import ALL
from fastetl.errors import WarehouseError
from fastetl.identifiers import fold
from fastetl.operate import ownership
from fastetl.operate.catalog import Catalog
from fastetl.operate.schema import compare
from fastetl.sql import (
    build_statements,
    create_user_sql,
    load_grants_sql,
    read_grants_sql,
    replace_view_sql,
    tables_sql,
    view_columns,
    view_names,
    view_sql,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from fastetl.aws import Deployment, Token
    from fastetl.config import Pipeline
    from fastetl.operate.schema import Difference
    from fastetl.sql import Statement


VIEWED = {"_current": "", ALL: "", "_history": "_log"}
"""What the names of a view of mirror or log, and of the table that it shows, add to the target's."""


class Applied(msgspec.Struct):
    """What was done for one pipeline."""

    pipeline: str
    changes: list[str] = []
    """What changed of what was there, in order."""
    problems: list[str] = []
    """What could not be done, each with its remedy."""


class SchemaWriter:
    """Works on one pipeline."""

    def __init__(self, deployment: Deployment) -> None:
        """Describe the pipeline that is worked on.

        Args:
            deployment: of the pipeline.
        """
        self._pipeline = deployment.pipeline
        self._warehouse = deployment.warehouse
        self._new_name = deployment.new_name
        self._deployment = deployment
        self._owner = deployment.owner
        self._catalog = Catalog(deployment)
        self._done = Applied(self._pipeline.name)

    async def apply(self, *, take_over: bool = False) -> Applied:
        """Create what is missing and change what differs; done again, it changes nothing.

        Args:
            take_over: make this stack the owner of the target, whoever is.

        Raises:
            WarehouseError: the tables could not be created, or the catalog not be asked.
        """
        # A new target is its first loader's; of one that has been made, a gate without its row has lost its owner.
        owner = self._owner if await self._catalog.has_gate() else ""
        tables = tables_sql(self._pipeline, owner)
        await self._warehouse.run_pieces(tables, name=self._name(), token=self._token())
        await self._settle_owner(take_over=take_over)
        for part in self._pipeline.targets:
            await self._apply_target(part)
        if self._pipeline.parts:
            await self._make_views(self._pipeline, {})
        if self._pipeline.redshift.load_user:
            await self._grant_load()
        remedy = "Name users, role:<role> and group:<group> of this database in grant_to"
        await self._try(read_grants_sql(self._pipeline), remedy)
        return self._done

    async def _settle_owner(self, *, take_over: bool) -> None:
        """Say where the target is another stack's; with `take_over` it becomes this one's, and so do its epochs."""
        owners = await self._catalog.owners()
        others = ", ".join(sorted(owners - {"", self._owner}))
        if take_over and owners != {self._owner}:
            await ownership.take_over(self._deployment)
            self._done.changes.append(f"{self._owner} owns the target" + f" in place of {others}" * bool(others))
        elif others:
            what = f"the target belongs to {others}, and loads of {self._owner} are refused"
            remedy = "Stop that stack, and run `fastetl ddl --apply --take-over`, or name another target"
            self._done.problems.append(f"{self._pipeline.schema}.{self._pipeline.target}: {what}. {remedy}")

    async def _apply_target(self, part: Pipeline) -> None:
        for difference in compare(part, await self._catalog.tables(part)):
            await self._alter(difference)
        await self._make_views(part, await self._catalog.tables(part))

    async def _make_views(self, part: Pipeline, tables: Mapping[str, Mapping[str, Any]]) -> None:
        views = await self._catalog.views(part)
        for name in view_names(part):
            below = tables.get(fold(part.target + VIEWED.get(name, "")), {})
            shown = part.layout.columns if name in VIEWED else ()
            # What could not be added is told already; a view would fail for its readers.
            if all(fold(column) in below for column, _ in shown):
                await self._make_view(part, name, list(views.get(fold(part.target + name), {})))

    async def _alter(self, difference: Difference) -> None:
        what = f"{difference.table}.{difference.column}" if difference.column else difference.table
        if not difference.sql:
            if difference.remedy:
                self._done.problems.append(f"{what}: {difference.what}. {difference.remedy}")
            return
        (statement,) = build_statements(self._pipeline.name, [("alter", difference.sql)])
        try:
            await self._warehouse.run_alone(statement, name=self._name(), token=self._token())
        except WarehouseError as error:
            remedy = "Where a view of another owner holds the column, make that view WITH NO SCHEMA BINDING"
            self._done.problems.append(f"{what}: {error}. {remedy}")
        else:
            self._done.changes.append(difference.sql)

    async def _make_view(self, part: Pipeline, name: str, columns: list[str]) -> None:
        """Create a view that is not there; replace one whose columns are others, and grant it as it was granted."""
        if columns == [fold(column) for column in view_columns(part, name)]:
            return
        view = part.target + name
        sql = view_sql(part, name)
        if columns:
            sql = replace_view_sql(part, name, await self._catalog.readers(part, view))
        if await self._try(sql, "Where another view rests on it, make that one WITH NO SCHEMA BINDING") and columns:
            self._done.changes.append(f"view {view}: {', '.join(view_columns(part, name))}")

    async def _grant_load(self) -> None:
        user, database = self._pipeline.redshift.load_user, self._pipeline.redshift.database
        if not await self._catalog.has_load_user():
            remedy = "Run it as a superuser, or after the coordinator has connected once"
            if not await self._try(create_user_sql(self._pipeline), remedy):
                return
            self._done.changes.append(f"user {user}")
        if missing := await self._catalog.missing_privileges():
            sql = load_grants_sql(self._pipeline, missing)
            if await self._try(sql, f"Run it as the owner of the tables and of database {database}"):
                self._done.changes += [f"{user}: {each}" for each in missing]

    async def _try(self, sql: Sequence[Statement], remedy: str) -> bool:
        """Run statements; one that fails is a problem, and not the end."""
        try:
            await self._warehouse.run_pieces(sql, name=self._name(), token=self._token())
        except WarehouseError as error:
            self._done.problems.append(f"{sql[0].step}: {error}. {remedy}")
            return False
        return True

    def _name(self) -> str:
        return f"fastetl/ddl/{self._pipeline.name}"

    def _token(self) -> Token:
        return ("ddl", self._new_name())
