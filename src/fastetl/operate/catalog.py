"""What the warehouse has of a pipeline: columns, views, readers, and the rights of the user that loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fastetl.config import Grantee
from fastetl.identifiers import fold
from fastetl.sql import (
    EVERYBODY,
    assume_role_sql,
    gate_columns_sql,
    load_privileges,
    owner_sql,
    privileges_sql,
    table_columns_sql,
    user_sql,
    view_columns_sql,
    view_readers_sql,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastetl.aws import Deployment
    from fastetl.config import Pipeline
    from fastetl.sql import Privilege, Statement

_SIZED = ("char", "varchar", "varbyte", "binary", "numeric", "decimal")


class Catalog:
    """Asks about one pipeline. Every method raises `WarehouseError`."""

    def __init__(self, deployment: Deployment) -> None:
        """Describe the pipeline that is asked about.

        Args:
            deployment: of the pipeline.
        """
        self._pipeline = deployment.pipeline
        self._warehouse = deployment.warehouse
        self._new_name = deployment.new_name

    async def tables(self, part: Pipeline) -> dict[str, dict[str, str]]:
        """Ask which columns a target's mirror and log have.

        Args:
            part: one of the pipeline's targets.

        Returns:
            The types of the columns by their names, by the table's name.
        """
        return await self._columns(table_columns_sql(part))

    async def views(self, part: Pipeline) -> dict[str, dict[str, str]]:
        """Ask which columns a target's views have.

        Args:
            part: one of the pipeline's targets.

        Returns:
            The types of the columns by their names, by the view's name.
        """
        return await self._columns(view_columns_sql(part))

    async def readers(self, part: Pipeline, view: str) -> tuple[Grantee, ...]:
        """Give to whom a view has been granted.

        Args:
            part: the target that has the view.
            view: its name, without the schema.
        """
        rows = await self._ask(view_readers_sql(part))
        return tuple(
            EVERYBODY if kind == "public" else msgspec.convert({"kind": kind, "name": name}, Grantee)
            for relation, kind, name in rows
            if relation == fold(view)
        )

    async def has_gate(self) -> bool:
        """Tell whether the target's gate is there, with or without its row: whether the target has been made."""
        return bool(await self._columns(gate_columns_sql(self._pipeline)))

    async def owners(self) -> set[str]:
        """Give the owner of the target as the gate has it; empty text where nobody has loaded yet."""
        return {owner for (owner,) in await self._ask(owner_sql(self._pipeline))}

    async def has_load_user(self) -> bool:
        """Tell whether `redshift.load_user` is a user of the database."""
        return bool(await self._ask(user_sql(self._pipeline)))

    async def missing_privileges(self) -> list[Privilege]:
        """Give the rights that a load needs and `redshift.load_user` does not have.

        Raises:
            WarehouseError: the user, the schema or the table does not exist.
        """
        privileges = load_privileges(self._pipeline)
        granted = await self.granted(privileges)
        return [each for each in privileges if each not in granted]

    async def granted(self, privileges: tuple[Privilege, ...]) -> list[Privilege]:
        """Give the rights, of some, that `redshift.load_user` has.

        Args:
            privileges: that are asked about.

        Raises:
            WarehouseError: the user, the schema or the table does not exist.
        """
        (answers,) = await self._ask(privileges_sql(self._pipeline, privileges))
        return [each for each, answer in zip(privileges, answers, strict=True) if _is_true(answer)]

    async def may_assume_role(self) -> bool:
        """Tell whether `redshift.load_user` may have COPY take `redshift.iam_role`.

        Raises:
            WarehouseError: users may ask about themselves only, superusers about everybody.
        """
        ((answer,),) = await self._ask(assume_role_sql(self._pipeline))
        return _is_true(answer)

    async def _columns(self, sql: Sequence[Statement]) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for relation, column, kind, length, precision, scale in await self._ask(sql):
            limits = f"{precision},{scale}" if kind.lower().startswith(("numeric", "decimal")) else length
            # The limits of numbers are given as well, of types that take none.
            sized = kind.lower().startswith(_SIZED)
            found.setdefault(relation, {})[column] = f"{kind}({limits})" if sized and limits.strip(",") else kind
        return found

    async def _ask(self, sql: Sequence[Statement]) -> list[tuple[str, ...]]:
        token = ("catalog", self._new_name())
        statement_id = await self._warehouse.run(sql, name="fastetl/catalog", token=token)
        return await self._warehouse.rows(statement_id, 0)


def _is_true(answer: str) -> bool:
    return answer.lower() in {"t", "true"}
