"""Hold the tuner's model against what happens: `python -m benchmarks.tune_checks quota` and `… hour`.

`quota`: the ingest function under a quarter, a half and a whole CPU, beside what the model makes of its CPU time.
`hour`: an hour in two minutes on the embedded services, thresholds as much shorter, beside the model's files, loads and
CPU time. Both print a table; docs/tuning.md has one of each.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from fastetl.cli.local import demo_config
from fastetl.config import parse_config
from fastetl.local import stack
from fastetl.local.flights import read_flights
from fastetl.local.mapping import MappingSettings
from fastetl.tune.measure import Bench, Invocation, measure, read_cpu_seconds
from fastetl.tune.model import MIB, Settings, ingest, load
from fastetl.tune.prices import Constants
from fastetl.tune.quota import QuotaError, cpu_quota
from fastetl.tune.records import EventCutter, records_of_items

if TYPE_CHECKING:
    from fastetl.tune.records import Record

SHARES = (1.0, 0.5, 0.25)
SIZES = (100, 1000, 4000)
TURNS = 15
RATE, SECONDS = 100, 120
"""Changes a second, and for how long: what moto takes without falling behind."""
AT_ONCE = 10
STAND_INS = {"FASTETL_BUCKET": "lake", "FASTETL_LEDGER_TABLE": "ledger", "FASTETL_REDSHIFT_WORKGROUP": "local"}


async def check_quota() -> None:
    """Compare durations under quotas with those predicted from CPU time without any; all take turns."""
    print(
        "| records | share of a CPU | CPU ms, no quota | predicted ms | measured ms | error |\n"
        "|---:|---:|---:|---:|---:|---:|"
    )
    records = _flights()
    for size in SIZES:
        async with AsyncExitStack() as open_benches:
            benches = []
            for share in (None, *SHARES):
                try:
                    wrapper = open_benches.enter_context(cpu_quota(share)) if share else ()
                except QuotaError as error:
                    print(f"no quotas here: {error}")
                    return
                bench = await open_benches.enter_async_context(Bench(demo_config(), wrapper=wrapper))
                benches.append((share, bench, EventCutter(bench.config.pipelines[0], records)))
            for _, bench, cutter in benches:
                await bench.warm_up(cutter.cut(size))
            taken: dict[float | None, list[Invocation]] = defaultdict(list)
            for _ in range(TURNS):
                for share, bench, cutter in benches:
                    taken[share].append(await bench.invoke(cutter.cut(size)))
        cpu, wall = median(one.cpu_seconds for one in taken[None]), _wall(taken[None])
        for share in SHARES:
            predicted, measured = cpu / share + max(0.0, wall - cpu), _wall(taken[share])
            print(
                f"| {size:,} | {share} | {cpu * 1000:,.0f} | {predicted * 1000:,.0f} | {measured * 1000:,.0f} "
                f"| {predicted / measured - 1:+.0%} |"
            )


def _wall(taken: list[Invocation]) -> float:
    return median(one.result.report.duration_ms for one in taken) / 1000


async def check_hour() -> None:
    """Compare what happened with what the model says of the same rate and settings."""
    text = demo_config().replace('max_age = "3s"', 'max_age = "10s"')
    window, batch_size = 2.0, 1000
    async with Bench(text) as bench:
        pipeline = bench.config.pipelines[0]
        measured = await measure(bench, pipeline, _flights(), lambda *_: None, (1, 50, 100, 250, 500))
    mapping = MappingSettings(batch_size=batch_size, maximum_batching_window_in_seconds=window)
    async with stack.Embedded(text, mapping=mapping) as embedded:
        await embedded.create_tables()
        await embedded.connect()
        begin = time.monotonic()
        written = await _write(embedded, begin)
        seconds = time.monotonic() - begin
        await embedded.settle()
        lines = [msgspec.json.decode(line) for line in embedded.log if line.startswith("{")]
        cpu = sum(read_cpu_seconds(pid) for pid in embedded.ingest.pids) - measured.init_seconds * len(
            embedded.ingest.pids
        )
    files = sum(line.get("message") == "ingested" for line in lines)
    loads = sum(line.get("message") == "loaded" for line in lines)
    settings = Settings(1769, batch_size, window, 1, 8 * MIB, 128 * MIB, 10)
    constants = msgspec.structs.replace(Constants(), wake_up_seconds=stack.WAKE_UP_SECONDS, copy_base_seconds=0.5)
    ingestion = ingest(measured, settings, written / seconds, 1, constants)
    loading = load(settings, ingestion, constants)
    predicted_files = ingestion.invocations * seconds
    print("| | predicted | happened | error |\n|---|---:|---:|---:|")
    for name, predicted, happened in (
        ("files", predicted_files, files),
        ("loads", seconds / loading.cycle_seconds, loads),
        ("CPU seconds of ingest", predicted_files * measured.at(ingestion.records).cpu_seconds, cpu),
    ):
        print(f"| {name} | {predicted:,.1f} | {happened:,.1f} | {predicted / happened - 1:+.0%} |")
    print(f"\n{written:,} changes in {seconds:.0f} s.")


async def _write(embedded: stack.Embedded, begin: float) -> int:
    """Write flights at an even rate; give how many."""
    items = list(read_flights(RATE * SECONDS))
    for start in range(0, len(items), AT_ONCE):
        await asyncio.sleep(max(0.0, begin + start / RATE - time.monotonic()))
        puts = [{"PutRequest": {"Item": item}} for item in items[start : start + AT_ONCE]]
        await embedded.dynamodb.batch_write_item(RequestItems={"flights": puts})
    return len(items)


def _flights() -> list[Record]:
    (pipeline,) = parse_config(demo_config(), STAND_INS).pipelines
    return records_of_items(pipeline, list(read_flights(2000)))


if __name__ == "__main__":
    asyncio.run({"quota": check_quota, "hour": check_hour}[sys.argv[1]]())
