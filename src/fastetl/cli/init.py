"""`fastetl init`: a first configuration, from a table and what is in it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastetl.cli.options import command
from fastetl.cli.output import echo_json, tell, write_count

if TYPE_CHECKING:
    from fastetl.aws import Described, Item
    from fastetl.operate import Kind, Proposal

SAMPLE = 1000
"""Items that are looked at."""

LATER = "set-by-the-deployment"

MAX_NAME_CHARACTERS = 64

SCHEMA = "fastetl.schema.json"
"""Written beside the configuration: editors complete and check by it."""

_TEMPLATE = """\
#:schema ./{schema}
# fastetl: {table} -> {target}. Check it with `fastetl check`, see what it makes with `fastetl ddl`.
# Every setting is explained in docs/configuration.md, and in {schema} for editors.

bucket = {bucket}
ledger_table = {ledger_table}

[redshift]
workgroup = {workgroup}  # of Redshift Serverless; or else cluster = "..." and db_user = "..."
database = {database}

{kinds}[[pipelines]]
name = {name}
table = {table_text}
keys = [{keys}]
target = {target_text}
outputs = [{outputs}]  # "mirror": the current rows; "log": every change, with a view of the history
undeclared = "ignore"  # attributes without a column; "extra" keeps them in one SUPER column

[pipelines.load]  # a load starts when this much waits, or a file has waited this long
max_bytes = "128 MiB"
max_age = "15m"  # each load keeps Redshift Serverless awake for a minute at least

[pipelines.mirror]  # how Redshift stores the table; `fastetl ddl` creates it so
distkey = "_key"  # loads merge by it, without moving rows between nodes
sortkey = [{sortkey}]  # {sorted_why}

# The columns, proposed from {seen} items. A value that does not fit makes its record a reject; on_misfit = "null"
# makes it NULL instead, "truncate" cuts text.

{columns}"""


@command("init")
@click.option("--table", prompt="DynamoDB table", metavar="TABLE", help="The table; it is asked for if left out.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("fastetl.toml"), show_default=True, help="The file to write."
)
@click.option(
    "--target", default="", metavar="SCHEMA.TABLE", show_default="public and the table's name", help="In Redshift."
)
@click.option("--log", is_flag=True, help="Keep every change as well.")
@click.option("--bucket", default=LATER, metavar="NAME", help="The deployment sets it.")
@click.option("--ledger-table", default=LATER, metavar="NAME", help="The deployment sets it.")
@click.option("--workgroup", default=LATER, metavar="NAME", help="The deployment sets it.")
@click.option("--database", default="dev", show_default=True, metavar="NAME", help="In Redshift.")
@click.option(
    "--items", type=click.Path(path_type=Path),
    help="A sample of items as JSON lines, as exports have it, instead of a look at the table.",
)  # fmt: skip
@click.option("--keys", multiple=True, metavar="NAME", help="A key attribute, with --items; once for each.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
def init(
    table: str,
    out: Path,
    target: str,
    items: Path | None,
    keys: tuple[str, ...],
    *,
    log: bool,
    force: bool,
    as_json: bool,
    **names: str,
) -> None:
    """The columns and their types are proposed from the sample; read them before you deploy."""
    from fastetl.config import build_schema, parse_config
    from fastetl.errors import ConfigError, Problem
    from fastetl.operate import find_kinds, propose_columns

    if out.exists() and not force:
        remedy = "Name another with --out, or overwrite it with --force"
        raise ConfigError((Problem(str(out), "is there already", remedy),))
    if items:
        if not keys:
            problem = Problem("--keys", "missing", "Name the key attributes of --items, each as --keys NAME")
            raise ConfigError((problem,))
        sample = _read_items(items)
    else:
        described, sample = asyncio.run(_look(table))
        keys = described.keys
        if not described.stream_arn:
            tell(f"{table} has no stream yet: enable one with NEW_AND_OLD_IMAGES", colour="yellow")
    kinds = found.all if (found := find_kinds(sample, keys)) else ()
    every = propose_columns(sample, first=keys)
    proposals = choose_most_seen(every, len(keys))
    if left := len(every) - len(proposals):
        tell(
            f"{left:,} attributes more than a table has columns are left out: those that are seen least",
            colour="yellow",
        )
    target = target or f"public.{_identifier(table)}"
    text = write_config(table, keys, proposals, len(sample), target, kinds, log=log, **names)
    parse_config(text, {})
    out.write_text(text, encoding="utf-8")
    out.with_name(SCHEMA).write_text(json.dumps(build_schema(), indent=2) + "\n", encoding="utf-8")
    if as_json:
        columns = [
            {"name": each.column.name, "type": str(each.column.type), "why": each.why, "remark": each.remark}
            for each in proposals
        ]
        told = [
            {"name": each.name, "told_by": each.told_by, "items": each.items, "lists": each.lists} for each in kinds
        ]
        echo_json({"file": str(out), "items": len(sample), "columns": columns, "kinds": told})
    counts = f"{write_count(len(proposals), 'column')} from {write_count(len(sample), 'item')}"
    tell(f"{out}: {counts}. Next: `fastetl check`, then `fastetl ddl`")
    if kinds:
        tell(f"The table holds {len(kinds)} kinds of items: {', '.join(each.name for each in kinds)}", colour="yellow")
    for each in proposals:
        if each.remark:
            tell(f"{each.column.name}: {each.remark}", colour="yellow")


def choose_most_seen(proposals: tuple[Proposal, ...], keys: int) -> tuple[Proposal, ...]:
    """Choose as many proposals as a table has room for: the keys, which come first, and those with most values."""
    from fastetl.columns import SYSTEM_COLUMNS
    from fastetl.config import MAX_COLUMNS

    room = MAX_COLUMNS - len(SYSTEM_COLUMNS) - keys
    kept = set(sorted(proposals[keys:], key=lambda each: -each.seen)[:room])
    return (*proposals[:keys], *(each for each in proposals[keys:] if each in kept))


def write_config(
    table: str,
    keys: tuple[str, ...],
    proposals: tuple[Proposal, ...],
    seen: int,
    target: str,
    kinds: tuple[Kind, ...] = (),
    *,
    log: bool,
    **names: str,
) -> str:
    """Write the configuration's text."""
    from fastetl.config import quote_toml
    from fastetl.operate import propose_sortkey

    sortkey, sorted_why = propose_sortkey(proposals, seen)
    return _TEMPLATE.format(
        schema=SCHEMA,
        table=table,
        target=target,
        name=quote_toml(_identifier(table)),
        table_text=quote_toml(table),
        target_text=quote_toml(target),
        keys=", ".join(map(quote_toml, keys)),
        outputs='"mirror", "log"' if log else '"mirror"',
        seen=f"{seen:,}",
        kinds=_write_kinds(kinds),
        sortkey=quote_toml(sortkey),
        sorted_why=sorted_why,
        columns="\n".join(proposal.to_toml() for proposal in proposals),
        **{name: quote_toml(value) for name, value in names.items()},
    )


def _write_kinds(kinds: tuple[Kind, ...]) -> str:
    """Write the kinds of items as comments."""
    if not kinds:
        return ""
    lines = ["# The table holds several kinds of items, which become rows of one table here:"]
    for each in kinds:
        lists = f"; lists of maps: {', '.join(each.lists)}" if each.lists else ""
        lines.append(f"#   {each.name}: {each.told_by}; {each.items:,} seen{lists}")
    return "\n".join(line if line.isprintable() else ascii(line)[1:-1] for line in lines) + "\n\n"


async def _look(table: str) -> tuple[Described, list[Item]]:
    from fastetl.aws import SourceTable, open_clients

    (client,) = await open_clients("dynamodb")
    async with client:
        source = SourceTable(client, table)
        return await source.describe(), await source.sample(SAMPLE)


def _read_items(path: Path) -> list[Item]:
    from fastetl.columns import UnfitError, only
    from fastetl.decode import parse_record
    from fastetl.errors import ConfigError, EventError, Problem

    remedy = 'Write an item a line: {"Item": {"id": {"S": "1"}}}'
    try:
        lines = [parse_record(line) for line in path.read_bytes().splitlines() if line.strip()]
        items = [line["Item"] if _wraps_item(line) else line for line in lines]
        for item in items:
            for value in item.values():
                only(value)
    except OSError as error:
        raise ConfigError((Problem(str(path), error.strerror or str(error), "Name another with --items"),)) from None
    except (EventError, AttributeError, UnfitError):
        raise ConfigError((Problem(str(path), "it does not hold items as JSON lines", remedy),)) from None
    return items


def _wraps_item(line: Any) -> bool:
    """Tell a line of an export from an item that has an attribute `Item` of its own."""
    inner = line.get("Item")
    return len(line) == 1 and isinstance(inner, dict) and all(isinstance(value, dict) for value in inner.values())


def _identifier(table: str) -> str:
    """Give a name that pipelines and tables may have."""
    name = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in table).lower()
    return name.strip("_")[:MAX_NAME_CHARACTERS] or "table"
