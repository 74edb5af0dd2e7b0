"""`fastetl status`: how far each pipeline is, what is wrong, and what to type."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastetl.cli.options import command, config_option, pipelines_option
from fastetl.cli.output import echo_json, write_count, write_duration, write_size

if TYPE_CHECKING:
    from fastetl.operate import OpenBatch, Status

WATCH_SECONDS = 5
LATE_SECONDS = 2 * 3600
"""A file that waits longer is shown in orange: by default a load starts after 15 minutes."""

SHOWN_KINDS = 5
"""Of items that no target took, the most frequent kinds; `schema diff` shows all."""

Line = tuple[str, str | None]
"""A line, and its colour."""

REMEDIES = {
    "data": "the file is tried alone; if others load and it does not, it goes into quarantine",
    "infrastructure": "mend the cause, then `fastetl resume` tries again at once",
    "unreadable": "mend its permissions or its key; other files load meanwhile, and this one goes into quarantine",
    "archived": "nothing: S3 was asked for the files, which takes hours",
    "transient": "it is tried again by itself",
}
"""What to do about a batch that failed, by whose fault it was."""


@command("status")
@config_option
@pipelines_option
@click.option("--watch", is_flag=True, help=f"Show it again every {WATCH_SECONDS} seconds, until Ctrl-C.")
def status(config: Path, pipeline: str, *, watch: bool, as_json: bool) -> None:
    """Red is what needs somebody, orange what may."""
    from fastetl.cli.deployments import run_each
    from fastetl.operate import Operator

    while True:
        found = list(run_each(config, pipeline, lambda one: Operator(one).status()).values())
        if as_json:
            echo_json(found)
        else:
            if watch:
                click.clear()
                click.echo(f"{datetime.now().astimezone():%H:%M:%S}")
            for each in found:
                for text, colour in describe(each):
                    click.secho(text, fg=colour)
        if not watch and any(each.table_error for each in found):
            raise click.exceptions.Exit(1)
        if not watch:
            return
        time.sleep(WATCH_SECONDS)


def describe(found: Status) -> Iterator[Line]:
    """Say in lines how far a pipeline is, the most important first."""
    name = found.pipeline
    if found.paused_by == "operator":
        yield f"{name}: PAUSED by operator: {found.paused}; `fastetl resume` ends the pause", "red"
    elif found.paused:
        yield f"{name}: PAUSED by fastetl: {found.paused}", "red"
        yield "  mend the cause: it goes on by itself, or at once with `fastetl resume`", "red"
    elif found.ingest_error:
        yield f"{name}: running, but ingest FAILS", "red"
    elif found.stream_troubles:
        yield f"{name}: running, but its stream NEEDS SOMEBODY", "red"
    else:
        yield f"{name}: running", "green"
    yield from _describe_ingest(found)
    for trouble in found.stream_troubles:
        yield f"  stream       {trouble}", "red"
    yield f"  complete     {_describe_completeness(found)}", None
    waits = f", the oldest for {write_duration(found.oldest_pending_seconds)}" if found.pending_files else ""
    late = found.oldest_pending_seconds > LATE_SECONDS
    asked = ", a load is asked for" + ", of the next file" * (not found.pending_files) if found.load_requested else ""
    what = f"{_count(found, found.pending_files, 'file')}, {write_size(found.pending_bytes)}{waits}{asked}"
    yield f"  waiting      {what}", "yellow" if late else None
    last = f", the last {_ago(found.last_load_seconds)} ({found.last_load})" if found.last_load else ""
    yield f"  loads        {found.loads:,}{last}", None
    for batch in found.open_batches:
        yield from _describe_batch(batch)
    remedy = ": `fastetl quarantine list`" if found.quarantined else ""
    yield f"  quarantine   {_count(found, found.quarantined, 'file')}{remedy}", "red" if found.quarantined else None
    remedy = ": `fastetl rejects list`" if found.rejects else ""
    yield f"  rejects      {_count(found, found.rejects, 'object')}{remedy}", "yellow" if found.rejects else None
    if found.unrouted:
        kinds = ", ".join(f"{kind}: {count:,}" for kind, count in list(found.unrouted.items())[:SHOWN_KINDS])
        yield f"  no target    {write_count(sum(found.unrouted.values()), 'change')}: {kinds}", "yellow"
    if table := found.stream_problem or found.table_error:
        yield f"  table        {table}", "red"
    if found.possible_gaps:
        files = _count(found, found.possible_gaps, "file")
        yield f"  gap?         {files} with changes that the stream was about to forget: `fastetl resync`", "red"


def _describe_ingest(found: Status) -> Iterator[Line]:
    if found.last_file_seconds < 0:
        written = "no file yet"
        if not found.ingest_error:
            written += ": is the stream mapped to the function, and has anything changed?"
    else:
        lag = f", {write_duration(found.ingest_lag_seconds)} after its latest change" * (found.ingest_lag_seconds >= 0)
        written = f"the latest file was written {_ago(found.last_file_seconds)}{lag}"
    yield f"  ingest       {written}", None
    if found.ingest_error:
        yield f"    last failed {_ago(found.ingest_error_seconds)}: {found.ingest_error}", "red"
        yield "    mend the cause, and deploy if it is in the configuration; Lambda tries again by itself", "red"


def _describe_completeness(found: Status) -> str:
    """Say up to when everything is loaded, or why that is not known."""
    if not found.complete_held_by:
        return "not known: the coordinator has not looked at the stream"
    if found.complete_seconds < 0:
        return f"not known, because of {found.complete_held_by}"
    return f"up to {found.complete_up_to} ({_ago(found.complete_seconds)}), held by {found.complete_held_by}"


def _describe_batch(batch: OpenBatch) -> Iterator[Line]:
    what = f"{batch.batch_id} {batch.state}, attempt {batch.attempt}"
    size = f"{write_count(batch.files, 'file')}, {write_size(batch.bytes)}"
    next_try = ""
    if batch.state == "RETRY":
        soon = f"in {write_duration(batch.next_try_seconds)}" if batch.next_try_seconds else "at the next wake-up"
        next_try = f", next try {soon}"
    colour = "yellow" if batch.failure else None
    yield f"  batch        {what}, {size}{next_try}", colour
    if batch.error:
        yield f"    failed at {batch.error}" if batch.step else f"    failed: {batch.error}", colour
    if remedy := REMEDIES.get(batch.failure):
        yield f"    {remedy}", colour


def _count(found: Status, number: int, noun: str) -> str:
    """Write a count, which may have ended before there were no more."""
    return write_count(number, noun) + " or more" * (number >= found.counted_up_to)


def _ago(seconds: float) -> str:
    return f"{write_duration(seconds)} ago"
