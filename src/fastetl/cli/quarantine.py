"""`fastetl quarantine`: files that the warehouse refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastetl.cli.commands import SENTENCES
from fastetl.cli.options import Subcommands, command, config_option, pipelines_option, yes_option
from fastetl.cli.output import echo_json, tell, write_count, write_size, write_table

if TYPE_CHECKING:
    from fastetl.cli.deployments import Deployments
    from fastetl.model import FileItem
    from fastetl.operate import Operator

quarantine = Subcommands("quarantine", help=SENTENCES["quarantine"])
file_argument = click.argument("file")


@command("list", of=quarantine)
@config_option
@pipelines_option
def list_files(config: Path, pipeline: str, *, as_json: bool) -> None:
    """List the files, oldest first, and why they are there."""
    from fastetl.cli.deployments import run

    found = run(config, lambda deployments: _find_all(deployments, pipeline))
    files = [file for _, file in found]
    if as_json:
        echo_json(files)
        return
    if not files:
        click.echo("no file is in quarantine")
        return
    rows = [(file.pipeline, file.file_id, f"{file.rows:,}", write_size(file.bytes), file.reason) for file in files]
    write_table(("pipeline", "file", "rows", "size", "reason"), rows)


@command("show", of=quarantine)
@file_argument
@config_option
@pipelines_option
def show(file: str, config: Path, pipeline: str, *, as_json: bool) -> None:
    """Show everything that the ledger knows of a file.

    FILE is its id, or the beginning of it. Its object is at `key` in the bucket.
    """
    import msgspec

    from fastetl.cli.deployments import run

    found = run(config, lambda deployments: _find_one(deployments, pipeline, file))[1]
    if as_json:
        echo_json(found)
        return
    for name, value in msgspec.structs.asdict(found).items():
        if value not in ("", {}):
            click.echo(f"{name.replace('_', ' '):<13} {value}")


@command("retry", of=quarantine)
@file_argument
@config_option
@pipelines_option
def retry(file: str, config: Path, pipeline: str, *, as_json: bool) -> None:
    """Load a file again, after its cause was mended.

    FILE is its id, or the beginning of it. Nothing that is newer than its rows is overwritten.
    """
    from fastetl.cli.deployments import run

    async def work(deployments: Deployments) -> FileItem:
        operator, found = await _find_one(deployments, pipeline, file)
        return await operator.retry(found.file_id)

    found = run(config, work)
    if as_json:
        echo_json({"file_id": found.file_id, "pipeline": found.pipeline, "state": "PENDING"})
    tell(f"{found.pipeline}: {found.file_id} waits for a load again; `fastetl load --now` does not wait")


@command("drop", of=quarantine)
@file_argument
@config_option
@pipelines_option
@yes_option
def drop(file: str, config: Path, pipeline: str, *, yes: bool, as_json: bool) -> None:
    """Give a file up: its changes will be missing from the warehouse.

    FILE is its id, or the beginning of it. Its object stays on S3.
    """
    from fastetl.cli.deployments import run

    found = run(config, lambda deployments: _find_one(deployments, pipeline, file))[1]
    changes = f"{write_count(found.rows, 'change')} of {found.pipeline}"
    question = f"{changes} will be missing from the warehouse. Drop {found.file_id}?"
    if not yes:
        click.confirm(question, abort=True, err=True)

    async def work(deployments: Deployments) -> FileItem:
        operator, one = await _find_one(deployments, pipeline, found.file_id)
        return await operator.drop(one.file_id)

    dropped = run(config, work)
    if as_json:
        echo_json({"file_id": dropped.file_id, "pipeline": dropped.pipeline, "state": "DROPPED"})
    tell(f"{dropped.pipeline}: {dropped.file_id} is dropped; its object stays at {dropped.key}")


async def _find_all(deployments: Deployments, pipeline: str) -> list[tuple[Operator, FileItem]]:
    from fastetl.operate import Operator

    operators = [Operator(each) for each in deployments.choose_each(pipeline)]
    return [(operator, file) for operator in operators for file in await operator.quarantined()]


async def _find_one(deployments: Deployments, pipeline: str, start: str) -> tuple[Operator, FileItem]:
    from fastetl.cli.configuration import choose_one

    found = {file.file_id: (operator, file) for operator, file in await _find_all(deployments, pipeline)}
    return found[choose_one("file in quarantine", start, found, "fastetl quarantine list")]
