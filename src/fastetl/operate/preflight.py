"""Try everything that a pipeline needs, and name what is missing with its remedy."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from fastetl.errors import FastetlError, WarehouseError
from fastetl.operate.catalog import Catalog
from fastetl.operate.recent_files import read_latest_files
from fastetl.operate.schema import compare_all
from fastetl.operate.streams import REMEDY, describe_other_stream, find_last_label
from fastetl.sql import copy_probe_sql

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastetl.aws import Deployment
    from fastetl.config import Pipeline


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    what: str
    problem: str = ""
    """Empty if it is as it should be."""
    remedy: str = ""


def _name_targets(pipeline: Pipeline) -> str:
    return ", ".join(f"{part.schema}.{part.target}" for part in pipeline.targets)


class Preflight:
    """Tries everything that one pipeline needs."""

    def __init__(self, deployment: Deployment) -> None:
        """Describe the deployment to look at.

        Args:
            deployment: of the pipeline.
        """
        self._config = deployment.config
        self._pipeline = deployment.pipeline
        self._source = deployment.source
        self._bucket = deployment.bucket
        self._ledger = deployment.ledger
        self._warehouse = deployment.warehouse
        self._catalog = Catalog(deployment)
        self._new_name = deployment.new_name

    async def look(self) -> list[Finding]:
        """Try everything; one thing that fails hides no other."""
        looks: list[tuple[str, Callable[[], Awaitable[list[Finding]]]]] = [
            (f"table {self._pipeline.table}", self._look_at_table),
            (f"bucket {self._config.bucket}", self._look_at_bucket),
            (f"ledger {self._config.ledger_table}", self._look_at_ledger),
            (f"tables of {_name_targets(self._pipeline)}", self._look_at_warehouse),
            (f"rights of {self._pipeline.redshift.load_user or 'the user that loads'}", self._look_at_rights),
            ("COPY from the bucket", self._look_at_copy),
        ]
        findings: list[Finding] = []
        for what, look in looks:
            try:
                found = await look()
            except FastetlError as error:
                found = [Finding(what, str(error), "Look at the name, the region, and what this caller may do")]
            findings += found or [Finding(what)]
        return findings

    async def _look_at_table(self) -> list[Finding]:
        table, what = await self._source.describe(), f"table {self._pipeline.table}"
        found = []
        if self._pipeline.table_arn not in {"", table.arn}:
            problem = f"this caller's table of the name is {table.arn}, and stream_arn names {self._pipeline.table_arn}"
            found.append(Finding(what, problem, "Use that account and region, or correct stream_arn"))
        if table.keys != self._pipeline.keys:
            found.append(Finding(what, f"its keys are {', '.join(table.keys)}", f"Write keys = {list(table.keys)}"))
        if self._pipeline.source == "stream" and table.view_type not in {"NEW_IMAGE", "NEW_AND_OLD_IMAGES"}:
            view = table.view_type or "none"
            found.append(Finding(what, f"its stream shows {view}", "Enable one with NEW_AND_OLD_IMAGES"))
        elif self._pipeline.source == "stream" and self._pipeline.kept_deletes and table.view_type == "NEW_IMAGE":
            problem = (
                f"deletes = {self._pipeline.deletes!r} takes the last values of the old image, and its stream shows"
            )
            found.append(Finding(what, f"{problem} {table.view_type}", "Enable one with NEW_AND_OLD_IMAGES"))
        if self._pipeline.source == "stream":
            label = find_last_label(await read_latest_files(self._ledger, self._pipeline.name))
            if problem := describe_other_stream(table, label):
                found.append(Finding(what, problem, REMEDY[0].upper() + REMEDY[1:]))
            if self._pipeline.stream_arn not in {"", table.stream_arn} and self._pipeline.table_arn == table.arn:
                problem = f"its stream is {table.stream_arn or 'disabled'}, and stream_arn names another"
                found.append(Finding(what, problem, "Write the table's stream into stream_arn, or leave it out"))
        return found

    async def _look_at_bucket(self) -> list[Finding]:
        key = self._probe_key()
        await self._bucket.replace(key, b"probe,1\n")
        await self._bucket.delete(key)
        return []

    async def _look_at_ledger(self) -> list[Finding]:
        await self._ledger.batches.head(self._pipeline.name)
        await anext(self._ledger.files.pending(self._pipeline.name), None)
        return []

    async def _look_at_warehouse(self) -> list[Finding]:
        return [
            Finding(f"{each.table}.{each.column or '*'}", each.what, each.sql or each.remedy)
            for each in await compare_all(self._pipeline, self._catalog)
            if each.sql or each.remedy
        ]

    async def _look_at_rights(self) -> list[Finding]:
        """Ask for the user that loads, who is not the one who asks."""
        target = self._pipeline.redshift
        what = f"rights of {target.load_user or 'the user that loads'}"
        if not target.load_user:
            # With a secret or a user of a cluster, this caller is the same user as the coordinator.
            if target.secret_arn or target.db_user:
                return []
            remedy = "Set FASTETL_REDSHIFT_LOAD_USER, as `fastetl outputs` does, and run `fastetl ddl --apply`"
            return [Finding(what, "no user is named", remedy)]
        if not await self._catalog.has_load_user():
            return [Finding(what, "there is no user of this name", "Run `fastetl ddl --apply`")]
        found = [
            Finding(what, f"it has no {each}", "Run `fastetl ddl --apply`")
            for each in await self._catalog.missing_privileges()
        ]
        if target.iam_role != "default":
            # Only a superuser may ask it for another; COPY itself shows it for this caller.
            with contextlib.suppress(WarehouseError):
                if not await self._catalog.may_assume_role():
                    grant = f"GRANT ASSUMEROLE ON '{target.iam_role}' TO \"{target.load_user}\" FOR COPY"
                    found.append(Finding(what, f"it may not use {target.iam_role}", f"As a superuser: {grant}"))
        return found

    async def _look_at_copy(self) -> list[Finding]:
        bucket_region, warehouse_region = await self._bucket.region(), self._warehouse.region
        if bucket_region != warehouse_region:
            where = f"the bucket is in {bucket_region}, the warehouse in {warehouse_region}"
            return [Finding("COPY from the bucket", where, "Deploy the stack in the warehouse's region")]
        key = self._probe_key()
        await self._bucket.replace(key, b"probe,1\n")
        try:
            sql = copy_probe_sql(self._pipeline, f"s3://{self._config.bucket}/{key}")
            token = ("check", self._new_name())
            await self._warehouse.run(sql, name="fastetl/check", token=token)
        except FastetlError as error:
            return [Finding("COPY from the bucket", str(error), "Let redshift.iam_role read the bucket, and attach it")]
        finally:
            await self._bucket.delete(key)
        return []

    def _probe_key(self) -> str:
        return f"{self._config.prefix}check/{self._pipeline.name}-{self._new_name()}.csv"
