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
    from fastetl.operate import Kinds, Proposal

SAMPLE = 1000
"""Items that are looked at."""

LATER = "set-by-the-deployment"

MAX_NAME_CHARACTERS = 64

SCHEMA = "fastetl.schema.json"
"""Written beside the configuration: editors complete and check by it."""

_HEAD = """\
#:schema ./{schema}
# fastetl: {table} -> {target}. Check it with `fastetl check`, see what it makes with `fastetl ddl`.
# Every setting is explained in docs/configuration.md, and in {schema} for editors.

bucket = {bucket}
ledger_table = {ledger_table}

[redshift]
workgroup = {workgroup}  # of Redshift Serverless; or else cluster = "..." and db_user = "..."
database = {database}

"""

_PIPELINE = """\
[[pipelines]]
name = {name}
table = {table_text}
keys = [{keys}]
target = {target_text}
"""

_LOAD = """\
[pipelines.load]  # a load starts when this much waits, or a file has waited this long
max_bytes = "128 MiB"
max_age = "15m"  # each load keeps Redshift Serverless awake for a minute at least

"""

_COLUMNS = """\
# The columns, proposed from {seen} items. A value that does not fit makes its record a reject; on_misfit = "null"
# makes it NULL instead, "truncate" cuts text.

"""

_ONE_TARGET = """\
outputs = [{outputs}]  # "mirror": the current rows; "log": every change, with a view of the history
undeclared = "ignore"  # attributes without a column; "extra" keeps them in one SUPER column

{load}[pipelines.mirror]  # how Redshift stores the table; `fastetl ddl` creates it so
distkey = "_key"  # loads merge by it, without moving rows between nodes
sortkey = [{sortkey}]  # {sorted_why}

"""

_TARGETS = """\
unrouted = "extra"  # items of no target: their keys, and all else in one SUPER column, are rows of {target}

{load}# A target for each kind of items: an item is a row of the first whose conditions in `when` all hold.
# One transaction loads all of them; `fastetl check` counts its statements, of which there are at most 40.
{left_out}
"""


@command("init")
@click.option("--table", prompt="DynamoDB table", metavar="TABLE", help="The table; it is asked for if left out.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("fastetl.toml"), show_default=True, help="The file to write."
)
@click.option(
    "--target", default="", metavar="SCHEMA.TABLE", show_default="public and the table's name", help="In Redshift."
)
@click.option("--log", is_flag=True, help="Keep every change as well.")
@click.option("--one-target", is_flag=True, help="Make one table, also where the items are of several kinds.")
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
    one_target: bool,
    force: bool,
    as_json: bool,
    **names: str,
) -> None:
    """The columns and their types are proposed from the sample; read them before you deploy.

    Where the items are of several kinds, told by a type attribute or by words in the keys, each kind has a target.
    """
    from fastetl.config import build_schema, parse_config
    from fastetl.errors import ConfigError, Problem
    from fastetl.operate import find_kinds

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
    target = target or f"public.{_identifier(table)}"
    head = _write_head(table, keys, target, names)
    kinds = None if one_target else find_kinds(sample, keys)
    if kinds:
        text, described_as = _write_targets(sample, kinds, keys, target, log=log)
    else:
        text, described_as = _write_one_target(sample, keys, log=log)
    text = head + text
    parse_config(text, {})
    out.write_text(text, encoding="utf-8")
    out.with_name(SCHEMA).write_text(json.dumps(build_schema(), indent=2) + "\n", encoding="utf-8")
    if as_json:
        echo_json({"file": str(out), "items": len(sample), **described_as})
    tell(f"{out}: {_count(described_as, len(sample))}. Next: `fastetl check`, then `fastetl ddl`")
    for each in described_as["columns"]:
        if each["remark"]:
            tell(f"{each['name']}: {each['remark']}", colour="yellow")


def _write_one_target(sample: list[Item], keys: tuple[str, ...], *, log: bool) -> tuple[str, dict[str, Any]]:
    """Write the pipeline's own target; give its text, and what it proposes."""
    from fastetl.columns import SYSTEM_COLUMNS
    from fastetl.config import MAX_COLUMNS, quote_toml
    from fastetl.operate import choose_most_seen, propose_columns, propose_sortkey

    every = propose_columns(sample, first=keys)
    proposals = choose_most_seen(every, len(keys), MAX_COLUMNS - len(SYSTEM_COLUMNS))
    if left := len(every) - len(proposals):
        tell(
            f"{left:,} attributes more than a table has columns are left out: those that are seen least",
            colour="yellow",
        )
    sortkey, sorted_why = propose_sortkey(proposals, len(sample))
    text = _ONE_TARGET.format(
        outputs='"mirror", "log"' if log else '"mirror"',
        load=_LOAD,
        sortkey=quote_toml(sortkey),
        sorted_why=sorted_why,
    )
    text += _COLUMNS.format(seen=f"{len(sample):,}")
    text += "\n".join(proposal.to_toml() for proposal in proposals)
    return text, {"columns": [_describe(each) for each in proposals], "kinds": []}


def _write_targets(
    sample: list[Item], kinds: Kinds, keys: tuple[str, ...], target: str, *, log: bool
) -> tuple[str, dict[str, Any]]:
    """Write a target for each kind of items; give their text, and what they propose."""
    from fastetl.config import Pipeline
    from fastetl.operate import propose_targets

    schema, _, name = target.partition(".")
    pipeline = Pipeline(name="p", table="t", keys=keys, schema=schema, target=name, columns=())
    found = propose_targets(sample, kinds, pipeline, ("mirror", "log") if log else ("mirror",))
    left_out = "".join(f"#   without one of its own: {each}\n" for each in found.left_out)
    if found.left_out:
        tell(f"One transaction has no room for targets for {', '.join(found.left_out)}", colour="yellow")
    text = _TARGETS.format(target=target, load=_LOAD, left_out=left_out)
    text += _COLUMNS.format(seen=f"{len(sample):,}")
    text += "\n".join(each.to_toml() for each in found.targets)
    told = [
        {"name": each.name, "told_by": each.told_by, "items": each.items, "lists": each.lists} for each in kinds.all
    ]
    columns = [{"target": each.name, **_describe(column)} for each in found.targets for column in each.columns]
    return text, {"columns": columns, "kinds": told}


def _describe(proposal: Proposal) -> dict[str, str]:
    column = proposal.column
    return {"name": column.name, "type": str(column.type), "why": proposal.why, "remark": proposal.remark}


def _count(described: dict[str, Any], items: int) -> str:
    """Say how much is proposed."""
    targets = list(dict.fromkeys(each["target"] for each in described["columns"] if "target" in each))
    of = f" of {write_count(len(targets), 'target')} ({', '.join(targets)})" if targets else ""
    return f"{write_count(len(described['columns']), 'column')}{of} from {write_count(items, 'item')}"


def _write_head(table: str, keys: tuple[str, ...], target: str, names: dict[str, str]) -> str:
    """Write what the file says of everything but the targets."""
    from fastetl.config import quote_toml

    quoted = {name: quote_toml(value) for name, value in names.items()}
    return _HEAD.format(schema=SCHEMA, table=table, target=target, **quoted) + _PIPELINE.format(
        name=quote_toml(_identifier(table)),
        table_text=quote_toml(table),
        target_text=quote_toml(target),
        keys=", ".join(map(quote_toml, keys)),
    )


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
