"""`fastetl cost`: where the money goes."""

from __future__ import annotations

from typing import Any

import click

from fastetl.cli.options import command
from fastetl.cli.output import echo_json
from fastetl.cli.tune import take_source_options


@command("cost", extra="local")
@take_source_options
def cost(*, as_json: bool, **asked: Any) -> None:
    """Without --memory, --batch-size, --window and --parallelization it takes the defaults of `template.yaml`."""
    from rich.console import Console

    from fastetl import tune as tuner
    from fastetl.cli.tuning import Asked, read_or_measure

    source = Asked(**asked)
    saved = read_or_measure(source, [])
    workload, book = source.build_workload(saved.item_bytes), source.book
    predicted = tuner.predict(saved.measured[0], source.current_settings, workload, book)
    awake = source.predict_awake(saved.measured[0], workload, book)
    if as_json:
        answer = {
            "fastetl": predicted, "rate": workload.rate, "prices_of": f"{book.region}, {book.priced_on}",
            "warehouse": awake,
        }  # fmt: skip
        echo_json(answer)
        return
    rows = {source.pipeline.name: predicted}
    Console().print(tuner.show_money("$ a month", rows, lambda _: tuner.DAYS_PER_MONTH, digits=2))
    click.echo(
        f"At {workload.rate:,g} changes a second: {predicted.loads_per_day:,.0f} loads and "
        f"{predicted.cold_starts_per_day:,.0f} cold starts a day; 99 of 100 changes are in the warehouse within "
        f"{predicted.fresh_p99:,.0f} s. AWS prices of {book.region}, {book.priced_on}, without free tiers; for other "
        "regions give --prices."
    )
    together = f"{len(awake.pipelines)} pipelines" if awake.pipelines[1:] else "this pipeline alone"
    click.echo(
        f"The warehouse, for {together}: awake {awake.minutes:,.0f} minutes a day in {awake.wake_ups:,} times, "
        f"${awake.dollars_per_day * tuner.DAYS_PER_MONTH:,.2f} a month; from 0 to 24 o'clock "
        f"|{tuner.write_hours(awake)}|"
    )
