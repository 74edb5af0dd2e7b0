"""`fastetl transform`: what would be written for an event."""

from __future__ import annotations

import asyncio
import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastetl.cli.options import command, config_option, pipeline_option
from fastetl.cli.output import echo_json, tell

if TYPE_CHECKING:
    from fastetl.config import Config, Pipeline


@command("transform", extra="")
@click.argument("event", type=click.Path(path_type=Path, allow_dash=True))
@config_option
@pipeline_option
def transform(event: Path, config: Path, pipeline: str, *, as_json: bool) -> None:
    """EVENT is a file with an event of DynamoDB Streams as JSON, or - for standard input.

    The CSV has a header. Rejected records go to standard error, as JSON.
    """
    import msgspec

    from fastetl.cli.configuration import read_config
    from fastetl.cli.enrichment import build_enricher
    from fastetl.decode import Decoder
    from fastetl.errors import EventError
    from fastetl.ingest import encode_frames, refine

    try:
        content = sys.stdin.buffer.read() if str(event) == "-" else event.read_bytes()
    except OSError as error:
        raise EventError(f"{event}: {error.strerror}. Name a file with an event as JSON") from None
    read = read_config(config, offline=True)
    chosen = _choose(read, content, pipeline)
    decoder = Decoder(chosen)
    try:
        decoded = decoder.decode(content)
    except EventError as error:
        message = f"{event} is not an event of DynamoDB Streams: {error}. examples/event.json is one"
        raise EventError(message) from error
    enricher = asyncio.run(build_enricher(read, chosen, config))
    refined = refine(decoded, enricher, chosen.layout, lambda positions: decoder.write_records(content, positions))
    changes = refined.changes
    layout = msgspec.structs.replace(chosen.layout, compression="none")
    names = [name for name, _ in layout.columns]
    text = "".join(piece.decode() for piece in encode_frames([changes.frame], layout, 1 << 20))
    counts = {
        **refined.counts,
        **{f"misfit {column}/{reason}": count for (column, reason), count in changes.misfits.items()},
        **{f"ignored {name}": count for name, count in changes.ignored.items()},
        **{f"of another table {name}": count for name, count in changes.passed_over.items()},
    }
    if as_json:
        places = {target: {place: name for name, place in own} for target, own in layout.targets}
        rows = [
            {name: None if value == layout.null_marker else value for name, value in zip(names, row, strict=True)}
            for row in csv.reader(text.splitlines(keepends=True), delimiter=layout.delimiter)
        ]
        rows = [_name_columns(row, places) for row in rows] if places else rows
        echo_json({"rows": rows, "rejects": changes.rejects, "counts": counts})
        return
    click.echo(layout.delimiter.join(names))
    click.echo(text, nl=False)
    for reject in changes.rejects:
        tell(msgspec.json.encode(reject).decode())
    for name, count in counts.items():
        tell(f"{name}: {count}")


def _name_columns(row: dict[str, str | None], places: dict[str, dict[str, str]]) -> dict[str, str | None]:
    """Give a row of one of several targets by the names of the target's own columns."""
    own = places.get(row["_target"] or "", {})
    return {own.get(name, name): value for name, value in row.items() if name in own or name.startswith("_")}


def _choose(config: Config, event: bytes, name: str) -> Pipeline:
    """Choose the pipeline that is named; otherwise the one that reads the event's table."""
    from fastetl.cli.configuration import choose_pipeline
    from fastetl.decode import parse_source_arn
    from fastetl.errors import EventError

    if name:
        return choose_pipeline(config, name)
    try:
        return config.pipelines_for(parse_source_arn(event, config.reads))[0]
    except EventError:
        return choose_pipeline(config, name)
