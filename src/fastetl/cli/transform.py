"""`fastetl transform`: what would be written for an event."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from fastetl.cli.enrichment import build_enricher
from fastetl.cli.output import DEFAULT_CONFIG, ConfigPath, PipelineName, choose_pipeline, problems, read_config
from fastetl.decode import Decoder, parse_source_arn
from fastetl.errors import EventError
from fastetl.ingest import encode_frames


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(transform)


def transform(
    event: Annotated[Path, typer.Argument(help="An event of DynamoDB Streams as JSON; - for standard input.")],
    config: ConfigPath = DEFAULT_CONFIG,
    pipeline: PipelineName = "",
) -> None:
    """Print an event's changes as the CSV that would be written, with a header; rejects go to standard error."""
    content = sys.stdin.buffer.read() if str(event) == "-" else event.read_bytes()
    read = read_config(config, offline=True)
    try:
        chosen = choose_pipeline(read, pipeline) if pipeline else read.pipeline_for(parse_source_arn(content))
    except EventError:
        chosen = choose_pipeline(read, pipeline)
    changes = Decoder(chosen).decode(content)
    enriched = asyncio.run(build_enricher(read, chosen, config)).apply(changes.frame)
    layout = msgspec.structs.replace(chosen.layout, compression="none")
    typer.echo(layout.delimiter.join(name for name, _ in layout.columns))
    for piece in encode_frames([enriched.frame], layout, 1 << 20):
        typer.echo(piece.decode(), nl=False)
    for reject in changes.rejects:
        typer.echo(msgspec.json.encode(reject).decode(), err=True)
    counts = [*enriched.counts.items(), *((f"ignored {name}", count) for name, count in changes.ignored.items())]
    for name, count in counts:
        problems.print(f"{name}: {count}", style="dim", markup=False)
