"""Many seeds on several processes, going on where a run stopped; or with a guard switched off until it is noticed."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import msgspec

from tests.simulation.mutations import MUTATIONS
from tests.simulation.world import simulate

ROOT = Path(__file__).parent.parent.parent

CHUNK = 20


class Kind(msgspec.Struct, frozen=True):
    """Which simulations are run."""

    large: bool = False
    duckdb: bool = False

    @property
    def name(self) -> str:
        """In the name of the file that says what is done."""
        return ("large" if self.large else "small") + ("-duckdb" if self.duckdb else "")


class Summary(msgspec.Struct):
    """What came of many seeds."""

    seeds: int = 0
    calls: int = 0
    virtual_seconds: float = 0.0
    seconds: float = 0.0
    """Of this machine, summed over the processes."""
    violations: dict[int, tuple[str, ...]] = {}
    coverage: dict[str, int] = {}

    def add(self, other: Summary) -> None:
        """Count another summary in."""
        self.seeds += other.seeds
        self.calls += other.calls
        self.virtual_seconds += other.virtual_seconds
        self.seconds += other.seconds
        self.violations |= other.violations
        self.count(other.coverage)

    def count(self, coverage: Mapping[str, int]) -> None:
        """Count what was reached."""
        for what, times in coverage.items():
            self.coverage[what] = self.coverage.get(what, 0) + times


class Done(msgspec.Struct, frozen=True):
    """A chunk of seeds that was run, as a line of the file has it."""

    code: str
    """Digest of the code that ran: what another state of it did tells nothing about this one."""
    first: int
    count: int
    summary: Summary


def run_seeds(seeds: Iterable[int], kind: Kind = Kind()) -> Summary:  # noqa: B008 - it cannot be changed
    """Run seeds one after the other, here."""
    summary, began = Summary(), time.process_time()
    for seed in seeds:
        try:
            outcome = simulate(seed, large=kind.large, duckdb=kind.duckdb)
        except Exception as error:
            summary.violations[seed] = (f"simulation: {error!r}",)
            continue
        finally:
            summary.seeds += 1
        summary.calls += outcome.calls
        summary.virtual_seconds += outcome.virtual_seconds
        summary.count(outcome.coverage)
        if outcome.violations:
            summary.violations[seed] = outcome.violations
    summary.seconds = time.process_time() - began
    return summary


def run_everywhere(
    first: int,
    count: int,
    processes: int,
    on_progress: Callable[[Summary], None],
    kind: Kind = Kind(),  # noqa: B008 - as above
    done_file: Path | None = None,
) -> Summary:
    """Run `count` seeds from `first` on, in several processes; `on_progress` sees the sum so far.

    What `done_file` says is done already, by the same code, is counted and not run again.
    """
    code, total = digest_code(), Summary()
    done = {each.first: each for each in read_done(done_file, code) if each.count == CHUNK}
    chunks = []
    for start in range(first, first + count, CHUNK):
        if (known := done.get(start)) and start + CHUNK <= first + count:
            total.add(known.summary)
        else:
            chunks.append(range(start, min(start + CHUNK, first + count)))
    on_progress(total)
    # Frames of a few rows gain nothing from threads that wait for each other.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(run_seeds, chunk, kind): chunk for chunk in chunks}
        for ended in as_completed(running):
            part, chunk = ended.result(), running[ended]
            total.add(part)
            if done_file:
                with done_file.open("ab") as file:
                    file.write(msgspec.json.encode(Done(code, chunk.start, len(chunk), part)) + b"\n")
            on_progress(total)
    return total


def read_done(done_file: Path | None, code: str) -> list[Done]:
    """Read what this code has done; a line that was being written when the machine stopped is left out."""
    found = []
    for line in done_file.read_bytes().splitlines() if done_file and done_file.exists() else ():
        try:
            each = msgspec.json.decode(line, type=Done)
        except msgspec.DecodeError:
            continue
        if each.code == code:
            found.append(each)
    return found


def digest_code() -> str:
    """Name the state of the product and of the simulation."""
    digest = hashlib.blake2b(digest_size=8)
    for folder in ("src/fastetl", "tests/simulation"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def find_violation(mutation: str, seeds: Iterable[int]) -> tuple[int, str] | None:
    """Give the first seed in which a mutation is noticed, and how.

    An error of the simulation itself is no violation: a patch that no longer fits the product raises it.
    """
    guard = MUTATIONS[mutation]
    with guard.without():
        for seed in seeds:
            if found := simulate(seed, duckdb=guard.duckdb).violations:
                return seed, found[0]
    return None
