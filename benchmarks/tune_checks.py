"""Hold the tuner's model against what happens: `python -m benchmarks.tune_checks quota` and `… hour`.

`quota`: the ingest function under a quarter, a half and a whole CPU, beside the durations that the model predicts.
Needs Linux's control groups, and root.
`hour`: an hour in four minutes on the embedded services, its rate changing, with thresholds as much shorter, beside the
model's files, loads and CPU time. Both print a table; docs/tuning.md has one of each.
"""

from __future__ import annotations

import asyncio
import sys
import time
from statistics import median

import msgspec

from benchmarks.cpu_quota import QuotaError
from benchmarks.quota_check import check_quota
from fastetl.config.reading import parse_config
from fastetl.local import stack, wake_ups
from fastetl.local.demonstration import demo_config
from fastetl.local.flights import read_flights
from fastetl.local.functions.mapping import MappingSettings
from fastetl.tune.measure import STAND_INS, Bench, measure_pipeline, read_cpu_seconds
from fastetl.tune.model import HOUR, MIB, Settings, Workload
from fastetl.tune.prediction import predict
from fastetl.tune.prices import Book, Constants
from fastetl.tune.records import Record, records_of_items

SIZES = (100, 1000, 4000)
TURNS = 25
PROFILE = (0.4, 1.2, 1.8, 0.6)
"""The rates of the hour's quarters, as multiples of the mean."""
RATE, SECONDS = 70, 240
"""Changes a second, and for how long: what moto takes at the peak without falling behind."""
STEP_SECONDS = 0.1
WINDOW_SECONDS, BATCH_SIZE, MAX_AGE_SECONDS = 2.0, 150, 10
"""Windows are over in the quiet quarters, and batches full in the others."""


async def check_quotas() -> None:
    """Compare durations under quotas with those predicted."""
    (pipeline,) = parse_config(demo_config(), STAND_INS).pipelines
    try:
        found = await check_quota(
            demo_config(), pipeline, _flights(), Constants(), lambda *_: None, sizes=SIZES, turns=TURNS
        )
    except QuotaError as error:
        print(f"no quotas here: {error}")
        return
    print("| records | CPUs | predicted | measured | error |\n|---:|---:|---:|---:|---:|")
    for each in found:
        predicted, measured = each.predicted_seconds * 1000, each.measured_seconds * 1000
        print(f"| {each.records:,} | {each.share:g} | {predicted:,.0f} ms | {measured:,.0f} ms | {each.error:+.0%} |")
    print(f"\nCPU time without a quota: {', '.join(f'{each.cpu_seconds * 1000:.0f}' for each in found)} ms.")


async def check_hour() -> None:
    """Compare what happened with what the model says of the same rates and settings."""
    text = demo_config().replace('max_age = "3s"', f'max_age = "{MAX_AGE_SECONDS}s"')
    mapping = MappingSettings(batch_size=BATCH_SIZE, maximum_batching_window_in_seconds=WINDOW_SECONDS)
    async with Bench(text) as bench:
        (pipeline,) = bench.config.pipelines
        measured = await measure_pipeline(bench, pipeline, _flights(), lambda *_: None, (1, 50, 100, 250))
    async with stack.Embedded(text, mapping=mapping) as embedded:
        await embedded.create_tables()
        await embedded.connect()
        begin = time.monotonic()
        written = await _write(embedded, begin)
        seconds = time.monotonic() - begin
        await embedded.settle()
        lines = [msgspec.json.decode(line) for line in embedded.log if line.startswith("{")]
        pids = embedded.ingest.pids
        cpu = sum(map(read_cpu_seconds, pids)) - measured.init_seconds * len(pids)
    files = [line for line in lines if line.get("message") == "ingested"]
    loads = [line for line in lines if line.get("message") == "loaded"]
    settings = Settings(1769, BATCH_SIZE, WINDOW_SECONDS, 1, 8 * MIB, pipeline.load.max_bytes, MAX_AGE_SECONDS)
    constants = msgspec.structs.replace(Constants(), wake_up_seconds=wake_ups.WAKE_UP_SECONDS, copy_base_seconds=0.5)
    day = predict(measured, settings, Workload(written / seconds, PROFILE), Book(constants=constants))
    share = seconds / (24 * HOUR)
    print("| | predicted | happened | error |\n|---|---:|---:|---:|")
    for name, predicted, happened in (
        ("files", day.files_per_day * share, len(files)),
        ("records of a file", day.records_per_invocation, sum(line["Records"] for line in files) / len(files)),
        ("loads", day.loads_per_day * share, len(loads)),
        ("CPU seconds of ingest", day.cpu_seconds_per_day * share, cpu),
    ):
        print(f"| {name} | {predicted:,.1f} | {happened:,.1f} | {predicted / happened - 1:+.0%} |")
    largest = sorted(line["Records"] for line in files)
    print(f"\n{written:,} changes in {seconds:.0f} s; {median(largest):.0f} records in the median file.")


async def _write(embedded: stack.Embedded, begin: float) -> int:
    """Write flights as the profile has it; give how many."""
    mean, count = sum(PROFILE) / len(PROFILE), 0
    items = iter(read_flights(round(RATE * SECONDS * 1.1)))
    owed, steps = 0.0, round(SECONDS / STEP_SECONDS)
    for step in range(steps):
        await asyncio.sleep(max(0.0, begin + step * STEP_SECONDS - time.monotonic()))
        owed += RATE * PROFILE[step * len(PROFILE) // steps] / mean * STEP_SECONDS
        puts = [{"PutRequest": {"Item": next(items)}} for _ in range(int(owed))]
        owed -= len(puts)
        count += len(puts)
        if puts:
            await embedded.dynamodb.batch_write_item(RequestItems={"flights": puts})
    return count


def _flights() -> list[Record]:
    (pipeline,) = parse_config(demo_config(), STAND_INS).pipelines
    return records_of_items(pipeline, list(read_flights(2000)))


if __name__ == "__main__":
    asyncio.run({"quota": check_quotas, "hour": check_hour}[sys.argv[1]]())
