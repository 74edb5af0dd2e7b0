"""`python -m tests.simulation --seeds 1000000`: simulate on all cores; `--seed 7` replays one, with its trace."""

from __future__ import annotations

import os
import sys

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from tests.simulation.mutations import MUTATIONS
from tests.simulation.runner import ROOT, Kind, Summary, find_violation, run_everywhere
from tests.simulation.world import simulate

console = Console()

DONE = ROOT / "build" / "simulation"
"""Where a run writes down what is done."""


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=2000, show_default=True, help="How many.")
@click.option("--first", type=click.IntRange(min=0), default=0, show_default=True, help="The first of them.")
@click.option("--seed", type=click.IntRange(min=0), help="Replay this one alone, and print what happened.")
@click.option("--large", is_flag=True, help="Many times the changes, keys and files.")
@click.option("--duckdb", is_flag=True, help="DuckDB, which runs the product's own SQL, is the warehouse.")
@click.option("--processes", type=click.IntRange(min=1), default=os.cpu_count() or 1, show_default=True)
@click.option("--mutations", is_flag=True, help="Look for the first seed that notices each mutation.")
def main(seeds: int, first: int, seed: int | None, large: bool, duckdb: bool, processes: int, mutations: bool) -> None:
    """Simulate; exit code 1 if an invariant was violated. A run that was stopped goes on where it was."""
    kind = Kind(large, duckdb)
    if seed is not None:
        sys.exit(_replay(seed, kind))
    if mutations:
        for name in MUTATIONS:
            console.print(f"| {name} |", *(find_violation(name, range(first, first + seeds)) or ("-", "")), sep=" | ")
        return
    DONE.mkdir(parents=True, exist_ok=True)
    done_file = DONE / f"{kind.name}.jsonl"
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("seeds", total=seeds)

        def show(total: Summary) -> None:
            progress.update(task, completed=total.seeds, description=f"seeds, {len(total.violations)} with violations")

        total = run_everywhere(first, seeds, processes, show, kind, done_file)
    for what, times in sorted(total.coverage.items()):
        console.print(f"{times:>12,}  {what}", highlight=False)
    days, rate = total.virtual_seconds / 86_400, total.seeds / max(total.seconds, 1e-9)
    console.print(
        f"{total.seeds:,} seeds ({kind.name}), {total.calls:,} calls, {days:,.0f} simulated days,"
        f" {rate:,.2f} seeds a second of one processor; what is done is in {done_file.relative_to(ROOT)}",
        highlight=False,
    )
    flags = "".join(f" {name}=1" for name, is_on in (("LARGE", large), ("DUCKDB", duckdb)) if is_on)
    for failing, violations in sorted(total.violations.items()):
        console.print(f"seed {failing}: {violations[0]}", f"replay: make simulate SEED={failing}{flags}", sep="\n")
    sys.exit(1 if total.violations else 0)


def _replay(seed: int, kind: Kind) -> int:
    outcome = simulate(seed, keep_trace=True, large=kind.large, duckdb=kind.duckdb)
    for event in outcome.trace:
        console.print(*event, markup=False, highlight=False, soft_wrap=True)
    for violation in outcome.violations:
        console.print(violation, style="red", markup=False)
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    main()
