"""`python -m tests.simulation --seeds 1000000`: simulate on all cores; `--seed 7` replays one, with its trace."""

from __future__ import annotations

import os
import sys

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from tests.simulation.mutations import MUTATIONS
from tests.simulation.runner import Summary, find_violation, run_everywhere
from tests.simulation.world import simulate

console = Console()


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=2000, show_default=True, help="How many.")
@click.option("--first", type=click.IntRange(min=0), default=0, show_default=True, help="The first of them.")
@click.option("--seed", type=click.IntRange(min=0), help="Replay this one alone, and print what happened.")
@click.option("--mutations", is_flag=True, help="Look for the first seed that notices each mutation.")
def main(seeds: int, first: int, seed: int | None, mutations: bool) -> None:
    """Simulate; exit code 1 if an invariant was violated."""
    if seed is not None:
        sys.exit(_replay(seed))
    if mutations:
        for name in MUTATIONS:
            console.print(f"| {name} |", *(find_violation(name, range(first, first + seeds)) or ("-", "")), sep=" | ")
        return
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("seeds", total=seeds)

        def show(total: Summary) -> None:
            progress.update(task, completed=total.seeds, description=f"seeds, {len(total.violations)} with violations")

        total = run_everywhere(first, seeds, os.cpu_count() or 1, show)
    for what, times in sorted(total.coverage.items()):
        console.print(f"{times:>12,}  {what}", highlight=False)
    days = total.virtual_seconds / 86_400
    console.print(f"{total.seeds:,} seeds, {total.calls:,} calls, {days:,.0f} simulated days", highlight=False)
    for failing, violations in sorted(total.violations.items()):
        console.print(f"seed {failing}: {violations[0]}", f"replay: make simulate SEED={failing}", sep="\n")
    sys.exit(1 if total.violations else 0)


def _replay(seed: int) -> int:
    outcome = simulate(seed, keep_trace=True)
    for event in outcome.trace:
        console.print(*event, markup=False, highlight=False, soft_wrap=True)
    for violation in outcome.violations:
        console.print(violation, style="red", markup=False)
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    main()
