"""The product's own statements with files to load, for tests of the warehouse."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from fastetl.columns.types import Column, RedshiftType
from fastetl.config.model import FileFormat, Pipeline
from fastetl.sql.load import load_sql, resolve_sql
from fastetl.sql.staging import Load
from fastetl.versions import build_version

OWNER = "lake/ledger/flights"
"""Of the target, as the stack of these loads names itself."""

Change = tuple[str, int, str]
"""Key, sequence number, and INSERT, MODIFY or REMOVE."""

NUMBER = "12345678901234567890123456789012345678"


def make_pipeline(target: str) -> Pipeline:
    return Pipeline(
        name=target,
        table=target,
        keys=("id",),
        schema="public",
        target=target,
        outputs=frozenset({"mirror", "log"}),
        columns=(
            Column("id", ("id",), RedshiftType.parse("VARCHAR(16)")),
            Column("amount", ("amount",), RedshiftType.parse("DECIMAL(38,0)")),
            Column("document", ("document",), RedshiftType.parse("SUPER")),
            Column("raw", ("raw",), RedshiftType.parse("VARBYTE(8)")),
            Column("seen", ("seen",), RedshiftType.parse("TIMESTAMPTZ")),
        ),
    )


WriteLine = Callable[[Any, str], str]
"""From a change and its file's name to its line of CSV."""


class Batch:
    """Files of changes on S3, with their manifest and list, and the statements that load them."""

    def __init__(
        self, pipeline: Pipeline, s3: Any, files: Sequence[Sequence[Any]], write: WriteLine | None = None
    ) -> None:
        self._pipeline = pipeline
        self.id = uuid.uuid4().hex
        names = [uuid.uuid4().hex for _ in files]
        for name, changes in zip(names, files, strict=True):
            lines = "".join((write or _line)(change, name) for change in changes)
            s3.put_object(Bucket="lake", Key=f"{self.id}/{name}.csv.gz", Body=gzip.compress(lines.encode()))
        entries = [{"url": f"s3://lake/{self.id}/{name}.csv.gz", "mandatory": True} for name in names]
        s3.put_object(Bucket="lake", Key=f"{self.id}/manifest.json", Body=json.dumps({"entries": entries}))
        counts = "".join(f"{name},{len(changes)}\n" for name, changes in zip(names, files, strict=True))
        s3.put_object(Bucket="lake", Key=f"{self.id}/files.csv", Body=counts)

    def load_sql(self, attempt: int, complete_up_to: int = 0) -> list[str]:
        load = Load(
            batch_id=self.id,
            attempt=attempt,
            layout=self._pipeline.layout,
            manifest_url=f"s3://lake/{self.id}/manifest.json",
            manifest_checksum="checksum",
            files_url=f"s3://lake/{self.id}/files.csv",
            changed_min="2013-01-01 00:00:00.000000",
            changed_max="2013-01-01 00:00:00.000000",
            since="2013-01-01 00:00:00",
            owner=OWNER,
            complete_up_to=complete_up_to,
        )
        return [statement.sql for statement in load_sql(self._pipeline, load)]

    def resolve_sql(self, attempt: int) -> list[str]:
        statements = resolve_sql(self._pipeline, OWNER, self.id, attempt, "2013-01-01")
        return [statement.sql for statement in statements]


def _line(change: Change, file_id: str) -> str:
    key, number, op = change
    version = build_version(0, "2013-01-01T00:00:00.000", str(number))
    deleted = op == "REMOVE"
    null = FileFormat().null_marker
    declared = ",".join([null] * 4) if deleted else f'{NUMBER},"{{""n"":{NUMBER}}}",00ff,2013-01-01 00:00:00+00'
    system = f"S={key};,{version},{op},{key}-{number},2013-01-01 00:00:00.000000,{str(deleted).lower()},{file_id}"
    return f"{system},{key},{declared}\n"
