"""Commands for operators, against a deployment or `fastetl local`: whatever the environment's variables lead to."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from fastetl.cli.output import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigPath,
    PipelineName,
    Since,
    Until,
    choose_pipeline,
    echo_json,
    parse_hours,
    problems,
    results,
)
from fastetl.cli.reach import Reach, chosen, run
from fastetl.config import Pipeline
from fastetl.model import Reject
from fastetl.operate import Status

FileId = Annotated[str, typer.Argument(help="As `quarantine list` shows it.")]
Key = Annotated[str, typer.Argument(help="As `rejects list` shows it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, load, pause, resume, replay, reconcile, rebuild_ledger):
        app.command()(command)
    quarantine = typer.Typer(help="Files that the warehouse refused.", no_args_is_help=True)
    quarantine.command("list")(quarantine_list)
    quarantine.command("show")(quarantine_show)
    quarantine.command("retry")(quarantine_retry)
    quarantine.command("drop")(quarantine_drop)
    app.add_typer(quarantine, name="quarantine")
    rejects = typer.Typer(help="Records that no column could hold.", no_args_is_help=True)
    rejects.command("list")(rejects_list)
    rejects.command("show")(rejects_show)
    rejects.command("replay")(rejects_replay)
    app.add_typer(rejects, name="rejects")


def status(config: ConfigPath = DEFAULT_CONFIG, pipeline: PipelineName = "", as_json: AsJson = False) -> None:
    """Show how far each pipeline is: what waits, what is on its way, what is set aside."""

    async def look(reach: Reach) -> list[Status]:
        return [await reach.operator(each).status() for each in chosen(reach.config, pipeline)]

    found = run(config, look)
    if as_json:
        echo_json(found)
        return
    for each in found:
        state = f"PAUSED by {each.paused_by}: {each.paused}" if each.paused else "running"
        results.print(f"{each.pipeline}: {state}", style="red" if each.paused else "green", markup=False)
        age = f", oldest {each.oldest_pending_seconds:,.0f} s" if each.pending_files else ""
        results.print(f"  pending      {each.pending_files:,} files, {each.pending_bytes:,} bytes{age}", markup=False)
        last = f", last {each.last_load}" if each.last_load else ""
        results.print(f"  loads        {each.loads:,}{last}", markup=False)
        results.print(f"  quarantine   {each.quarantined:,} files", markup=False)
        results.print(f"  rejects      {each.rejects:,} objects", markup=False)
        if each.possible_gaps:
            what = f"  GAP?         {each.possible_gaps:,} files begin where the stream forgets: `fastetl resync`"
            results.print(what, style="red", markup=False)
        for batch in each.open_batches:
            what = (
                f"{batch.batch_id} {batch.state}, attempt {batch.attempt}, {batch.files:,} files, {batch.bytes:,} bytes"
            )
            results.print(f"  batch        {what} {batch.error}".rstrip(), markup=False, soft_wrap=True)


def load(
    now: Annotated[bool, typer.Option("--now", help="Whatever the thresholds say.")],
    config: ConfigPath = DEFAULT_CONFIG,
    pipeline: PipelineName = "",
) -> None:
    """Have the coordinator load what waits when it wakes next, within a minute."""

    async def ask(reach: Reach) -> None:
        for each in chosen(reach.config, pipeline):
            await reach.operator(each).load_now()

    if now:
        run(config, ask)
        problems.print("asked for; `fastetl status` shows how it goes")


def pause(
    reason: Annotated[str, typer.Option(help="Shown by `status` and in the log.")],
    config: ConfigPath = DEFAULT_CONFIG,
    pipeline: PipelineName = "",
) -> None:
    """Begin no load until `resume`; ingest goes on."""

    async def ask(reach: Reach) -> None:
        for each in chosen(reach.config, pipeline):
            await reach.operator(each).pause(reason)

    run(config, ask)


def resume(config: ConfigPath = DEFAULT_CONFIG, pipeline: PipelineName = "") -> None:
    """End a pause, whoever began it."""

    async def ask(reach: Reach) -> None:
        for each in chosen(reach.config, pipeline):
            await reach.operator(each).resume()

    run(config, ask)


def quarantine_list(config: ConfigPath = DEFAULT_CONFIG, pipeline: PipelineName = "", as_json: AsJson = False) -> None:
    """List the files, oldest first, and why they are there."""

    async def find(reach: Reach) -> Any:
        return [file for each in chosen(reach.config, pipeline) for file in await reach.operator(each).quarantined()]

    found = run(config, find)
    if as_json:
        echo_json(found)
        return
    table = Table("pipeline", "file", "rows", "bytes", "reason")
    for file in found:
        table.add_row(file.pipeline, file.file_id, str(file.rows), str(file.bytes), file.reason)
    results.print(table)


def quarantine_show(file_id: FileId, config: ConfigPath = DEFAULT_CONFIG, pipeline: PipelineName = "") -> None:
    """Show everything that the ledger knows of a file; its object is at `key` in the bucket."""

    async def find(reach: Reach) -> Any:
        one = choose_pipeline(reach.config, pipeline)
        return [file for file in await reach.operator(one).quarantined() if file.file_id == file_id]

    echo_json(run(config, find))


def quarantine_retry(file_id: FileId, config: ConfigPath = DEFAULT_CONFIG, pipeline: PipelineName = "") -> None:
    """Load a file again, after what ailed it was mended."""
    run(config, lambda reach: reach.operator(choose_pipeline(reach.config, pipeline)).retry(file_id))


def quarantine_drop(
    file_id: FileId,
    config: ConfigPath = DEFAULT_CONFIG,
    pipeline: PipelineName = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Give a file up: its changes will be missing from the warehouse."""
    yes or typer.confirm("Its changes will be missing from the warehouse. Drop it?", abort=True)
    run(config, lambda reach: reach.operator(choose_pipeline(reach.config, pipeline)).drop(file_id))


def rejects_list(
    config: ConfigPath = DEFAULT_CONFIG,
    pipeline: PipelineName = "",
    keys: Annotated[bool, typer.Option("--keys", help="Only the keys, without reading the objects.")] = False,
) -> None:
    """List the objects that hold rejects, with how many records which column could not hold, and why."""

    async def find(reach: Reach) -> list[str]:
        operators = [reach.operator(each) for each in chosen(reach.config, pipeline)]
        found = [(operator, key) for operator in operators for key in await operator.reject_keys()]
        return [key if keys else f"{key}\t{_reasons(await operator.rejects(key))}" for operator, key in found]

    for line in run(config, find):
        typer.echo(line)


def _reasons(rejects: list[Reject]) -> str:
    """Count columns and reasons, most frequent first: `3 note/too_long, 1 -/key`; without item content."""
    counts = Counter(f"{reject.column or '-'}/{reject.reason}" for reject in rejects)
    return ", ".join(f"{count:,} {what}" for what, count in counts.most_common())


def rejects_show(key: Key, config: ConfigPath = DEFAULT_CONFIG, pipeline: PipelineName = "") -> None:
    """Print the rejects of an object as JSON lines: reason, column, and the raw record, which is item content."""
    found = run(config, lambda reach: reach.operator(choose_pipeline(reach.config, pipeline)).rejects(key))
    for reject in found:
        echo_json(reject)


def rejects_replay(key: Key, config: ConfigPath = DEFAULT_CONFIG, pipeline: PipelineName = "") -> None:
    """Ingest rejected records again with the present configuration."""
    from fastetl.operate import replay_rejects  # noqa: PLC0415 - brings in Polars

    async def work(reach: Reach) -> Any:
        one = choose_pipeline(reach.config, pipeline)
        rejects = await reach.operator(one).rejects(key)
        return await replay_rejects(key, rejects, await _build_ingest(reach, one, config))

    echo_json(run(config, work))


def replay(config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Ingest every event that the event source mapping gave up on; each is deleted once it is registered."""
    from fastetl.operate import replay_failures  # noqa: PLC0415 - brings in Polars

    async def work(reach: Reach) -> Any:
        built: dict[str, Any] = {}

        async def ingest_for(name: str) -> Any:
            if name not in built:
                built[name] = await _build_ingest(reach, reach.config.pipeline(name), config)
            return built[name]

        return await replay_failures(reach.config, reach.bucket, ingest_for)

    echo_json(run(config, work))


def reconcile(
    config: ConfigPath = DEFAULT_CONFIG,
    pipeline: PipelineName = "",
    since: Since = "",
    until: Until = "",
    as_json: AsJson = False,
) -> None:
    """Hold bucket, ledger and warehouse against each other; exit code 1 if anything differs."""
    hours = parse_hours(since, until)

    async def compare(reach: Reach) -> Any:
        return [await reach.reconciler(each).reconcile(*hours) for each in chosen(reach.config, pipeline)]

    found = run(config, compare)
    if as_json:
        echo_json(found)
    else:
        for each in found:
            sums = f"{each.records:,} records = {each.rows:,} rows + {each.rejects:,} rejects"
            files = f"{each.files:,} files, {each.loaded:,} loaded, {each.pending:,} pending"
            results.print(f"{each.pipeline}: {sums}; {files}, {each.quarantined:,} quarantined", highlight=False)
            for difference in each.differences:
                what = f"{difference.file_id}: {difference.what}. {difference.remedy}"
                problems.print(what, style="red", markup=False, soft_wrap=True)
    if any(each.differences for each in found):
        raise typer.Exit(1)


def rebuild_ledger(config: ConfigPath = DEFAULT_CONFIG, pipeline: PipelineName = "") -> None:
    """Make the ledger anew from bucket and warehouse, after it was lost or either was set back."""

    async def rebuild(reach: Reach) -> Any:
        return [await reach.reconciler(each).rebuild_ledger() for each in chosen(reach.config, pipeline)]

    echo_json(run(config, rebuild))


async def _build_ingest(reach: Reach, pipeline: Pipeline, config_path: Path) -> Any:
    from fastetl.cli.enrichment import build_enricher  # noqa: PLC0415 - brings in Polars
    from fastetl.ingest import Ingest  # noqa: PLC0415

    enricher = await build_enricher(reach.config, pipeline, config_path)
    return Ingest(reach.config, pipeline, reach.bucket, reach.ledger, enricher, clock=time.time)
