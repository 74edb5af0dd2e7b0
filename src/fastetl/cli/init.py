"""`fastetl init`: a first configuration, from a table and what is in it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import orjson
import typer

from fastetl.aws import Described, Item, SourceTable, open_clients
from fastetl.cli.output import problems
from fastetl.config import parse_config
from fastetl.errors import ConfigError, Problem
from fastetl.operate import Proposal, propose_columns, quote_toml

SAMPLE = 1000

_TEMPLATE = """\
# fastetl: {table} -> {target}. Check it with `fastetl check`, see what it makes with `fastetl ddl`.
# Every setting is explained in examples/orders.toml.

bucket = {bucket}
ledger_table = {ledger_table}

[redshift]
workgroup = {workgroup}  # of Redshift Serverless; or else cluster = "..." and db_user = "..."
database = {database}

[[pipelines]]
name = {name}
table = {table_text}
keys = [{keys}]
target = {target_text}
outputs = [{outputs}]  # "mirror": the current rows; "log": every change, with a view of the history
undeclared = "ignore"  # attributes without a column; "extra" keeps them in one SUPER column

[pipelines.load]  # a load starts when this much waits, or a file has waited this long
max_bytes = "128 MiB"
max_age = "15m"  # each load keeps Redshift Serverless awake for a minute at least

# The columns, proposed from {seen} items. A value that does not fit makes its record a reject; on_misfit = "null"
# makes it NULL instead, "truncate" cuts text.

{columns}"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(init)


def init(
    table: Annotated[str, typer.Option(prompt="DynamoDB table", help="The table, which is looked at.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("fastetl.toml"),
    target: Annotated[str, typer.Option(help="schema.table; `public` and the table's name otherwise.")] = "",
    log: Annotated[bool, typer.Option(help="Keep every change as well.")] = False,
    bucket: Annotated[str, typer.Option(help="The deployment sets it.")] = "",
    ledger_table: Annotated[str, typer.Option(help="The deployment sets it.")] = "",
    workgroup: Annotated[str, typer.Option(help="The deployment sets it.")] = "",
    database: Annotated[str, typer.Option()] = "dev",
    items: Annotated[Path | None, typer.Option(help="A sample as JSON lines, as exports have it, instead.")] = None,
    keys: Annotated[list[str] | None, typer.Option(help="Key attributes, with --items.")] = None,
    force: Annotated[bool, typer.Option(help="Overwrite the file.")] = False,
) -> None:
    """Write a commented configuration, with columns and types proposed from a sample of items."""
    if out.exists() and not force:
        raise ConfigError(
            (Problem(str(out), "is there already", "Name another with --out, or overwrite it with --force"),)
        )
    if items:
        sample = [_item(line, items) for line in items.read_bytes().splitlines() if line.strip()]
        key_names = tuple(keys or ())
    else:
        described, sample = asyncio.run(_look(table))
        key_names = described.keys
        if not described.stream_arn:
            problems.print(
                f"{table} has no stream yet: enable one with NEW_AND_OLD_IMAGES", style="yellow", markup=False
            )
    proposals = propose_columns(sample, first=key_names)
    text = write_config(
        table, key_names, proposals, len(sample), target or f"public.{_identifier(table)}", log=log,
        bucket=bucket or "set-by-the-deployment", ledger_table=ledger_table or "set-by-the-deployment",
        workgroup=workgroup or "set-by-the-deployment", database=database,
    )  # fmt: skip
    parse_config(text, {})
    out.write_text(text, encoding="utf-8")
    remarks = [proposal for proposal in proposals if proposal.remark]
    problems.print(f"{out}: {len(proposals)} columns from {len(sample):,} items", markup=False, highlight=False)
    for proposal in remarks:
        problems.print(f"{proposal.column.name}: {proposal.remark}", style="yellow", markup=False, highlight=False)


def write_config(
    table: str,
    keys: tuple[str, ...],
    proposals: tuple[Proposal, ...],
    seen: int,
    target: str,
    *,
    log: bool,
    **names: str,
) -> str:
    """Write the configuration's text."""
    return _TEMPLATE.format(
        table=table,
        target=target,
        name=quote_toml(_identifier(table)),
        table_text=quote_toml(table),
        target_text=quote_toml(target),
        keys=", ".join(map(quote_toml, keys)),
        outputs='"mirror", "log"' if log else '"mirror"',
        seen=f"{seen:,}",
        columns="\n".join(proposal.to_toml() for proposal in proposals),
        **{name: quote_toml(value) for name, value in names.items()},
    )


async def _look(table: str) -> tuple[Described, list[Item]]:
    (client,) = await open_clients("dynamodb")
    async with client:
        source = SourceTable(client, table)
        return await source.describe(), await source.sample(SAMPLE)


def _item(line: bytes, path: Path) -> Item:
    try:
        item: Item = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        problem = Problem(str(path), f"no JSON lines: {error}", 'Write an item a line: {"Item": {"id": {"S": "1"}}}')
        raise ConfigError((problem,)) from error
    inner: Item = item.get("Item", item)
    return inner


def _identifier(table: str) -> str:
    return "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in table).lower()
