"""`fastetl rejects`: records that no column could hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastetl.cli.commands import SENTENCES
from fastetl.cli.options import Subcommands, command, config_option, pipelines_option, yes_option
from fastetl.cli.output import echo_json, tell, write_count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastetl.aws import Deployment
    from fastetl.cli.deployments import Deployments
    from fastetl.model import Reject

rejects = Subcommands("rejects", help=SENTENCES["rejects"])
key_argument = click.argument("key")


@command("list", of=rejects)
@config_option
@pipelines_option
@click.option("--keys", is_flag=True, help="Only the keys, without reading the objects.")
def list_rejects(config: Path, pipeline: str, *, keys: bool, as_json: bool) -> None:
    """List the objects that hold rejects, with how many records which column could not hold, and why."""
    from fastetl.cli.deployments import run
    from fastetl.operate import Operator

    async def find(deployments: Deployments) -> list[dict[str, Any]]:
        found = []
        for key, one in (await _find_keys(deployments, pipeline)).items():
            held = [] if keys else await Operator(one).rejects(key)
            found.append(
                {"key": key, "pipeline": one.pipeline.name, "records": len(held), "reasons": _count_reasons(held)}
            )
        return found

    found = run(config, find)
    if as_json:
        echo_json(found)
        return
    if not found:
        tell("no record is rejected")
    for each in found:
        reasons = ", ".join(f"{count:,} {what}" for what, count in each["reasons"].items())
        click.echo(each["key"] if keys else f"{each['key']}\t{reasons}")


@command("show", of=rejects)
@key_argument
@config_option
@pipelines_option
def show(key: str, config: Path, pipeline: str, *, as_json: bool) -> None:  # noqa: ARG001 - it is JSON in any case
    """Print the rejects of an object as JSON lines: reason, column, and the raw record, which is item content.

    KEY is as `fastetl rejects list` shows it, or the beginning of it or of its last part.
    """
    from fastetl.cli.deployments import run
    from fastetl.operate import Operator

    async def find(deployments: Deployments) -> list[Reject]:
        found, one = await _find_key(deployments, pipeline, key)
        return await Operator(one).rejects(found)

    for reject in run(config, find):
        echo_json(reject)


@command("replay", of=rejects)
@key_argument
@config_option
@pipelines_option
def replay(key: str, config: Path, pipeline: str, *, as_json: bool) -> None:
    """Ingest the rejected records of an object again, with the present configuration.

    KEY is as `fastetl rejects list` shows it, or the beginning of it or of its last part. The object is deleted once
    its records are registered; what still does not fit is in a new one.
    """
    from fastetl.cli.deployments import run

    async def work(deployments: Deployments) -> Any:
        from fastetl.cli.enrichment import build_ingest
        from fastetl.operate import Operator, replay_rejects

        found, one = await _find_key(deployments, pipeline, key)
        operator = Operator(one)
        ingest = await build_ingest(one, config)
        replayed = await replay_rejects(found, await operator.rejects(found), ingest, one.new_name)
        await operator.end_rejects(found)
        return replayed

    found = run(config, work)
    if as_json:
        echo_json(found)
    for each in found:
        tell(f"{each.source}: {write_count(each.records, 'record')} ingested, {each.rejects:,} of them rejected again")


@command("drop", of=rejects)
@key_argument
@config_option
@pipelines_option
@yes_option
def drop(key: str, config: Path, pipeline: str, *, yes: bool, as_json: bool) -> None:
    """Give the rejected records of an object up: their changes will be missing from the warehouse.

    KEY is as `fastetl rejects list` shows it, or the beginning of it or of its last part. The object is deleted.
    """
    from fastetl.cli.deployments import run
    from fastetl.operate import Operator

    async def find(deployments: Deployments) -> tuple[str, int]:
        found, one = await _find_key(deployments, pipeline, key)
        return found, len(await Operator(one).rejects(found))

    found, count = run(config, find)
    if not yes:
        click.confirm(
            f"{write_count(count, 'change')} will be missing from the warehouse. Drop {found}?", abort=True, err=True
        )

    async def work(deployments: Deployments) -> None:
        await Operator((await _find_key(deployments, pipeline, found))[1]).end_rejects(found)

    run(config, work)
    if as_json:
        echo_json({"key": found, "dropped": count})
    tell(f"{found}: {write_count(count, 'record')} dropped")


async def _find_keys(deployments: Deployments, pipeline: str) -> dict[str, Deployment]:
    from fastetl.operate import Operator

    chosen = deployments.choose_each(pipeline)
    return {key: one for one in chosen for key in await Operator(one).reject_keys()}


async def _find_key(deployments: Deployments, pipeline: str, start: str) -> tuple[str, Deployment]:
    """Find the object whose key, or whose key's last part, begins like this."""
    from fastetl.cli.configuration import choose_one

    keys = await _find_keys(deployments, pipeline)
    names = {key.rpartition("/")[2]: key for key in keys}
    listing = "fastetl rejects list --keys"
    found = start if start in keys else names[choose_one("object of rejects", start, names, listing)]
    return found, keys[found]


def _count_reasons(held: Iterable[Reject]) -> dict[str, int]:
    """Count columns and reasons, most frequent first: `note/too_long`, or `-/key` of a whole record."""
    return dict(Counter(f"{reject.column or '-'}/{reject.reason}" for reject in held).most_common())
