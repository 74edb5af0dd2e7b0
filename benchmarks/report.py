"""Print what pytest-benchmark measured as tables: `report.py results.json`; or write README's tables and charts:
`report.py results.json README.md`.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from benchmarks.baseline import COMMIT
from benchmarks.candidates import FASTETL, FLOOR, PEERS
from benchmarks.drawing import draw_bars, draw_line

BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
CHARTS = "charts"
CHARTED_SHAPES = ("flat", "nested", "flights")

if TYPE_CHECKING:
    from collections.abc import Iterator

Benchmarks = list[dict[str, Any]]


def main(results: Path, readme: Path | None = None) -> None:
    """Print the tables; or replace what stands between the markers of a file, and draw the charts beside it."""
    measured = orjson.loads(results.read_bytes())
    if readme is None:
        print(build_tables(measured))
        return
    text = readme.read_text()
    head, _, tail = text.partition(BEGIN)
    tail = tail.partition(END)[2]
    readme.write_text(f"{head}{BEGIN}\n\n{build_tables(measured)}\n{END}{tail}")
    folder = readme.parent / CHARTS
    folder.mkdir(exist_ok=True)
    for name, chart in build_charts(measured).items():
        (folder / f"{name}.svg").write_text(chart)


def build_tables(measured: dict[str, Any]) -> str:
    """Build all tables, one below the other."""
    parts = [
        [describe_machine(measured)],
        build_aims_table(measured),
        build_transform_table(of(measured, "test_transform")),
        build_invocation_table(measured),
        build_backfill_table(measured),
        build_import_table(of(measured, "test_imports")),
        build_stage_table(of(measured, "test_stage")),
        build_parser_table(of(measured, "test_parser")),
        build_compressor_table(of(measured, "test_compressor")),
        build_upload_table(of(measured, "test_upload")),
        build_ingest_scale_table(of(measured, "test_ingest")),
        build_coordinator_table(of(measured, "test_coordinator")),
        build_marking_table(of(measured, "test_marking_loaded_files")),
        build_geoip_table(of(measured, "test_geoip")),
        build_help_table(of(measured, "test_help")),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def of(measured: dict[str, Any], function: str) -> Benchmarks:
    """Find a test function's measurements."""
    return [one for one in measured["benchmarks"] if one["name"].partition("[")[0] == function]


def medians(benchmarks: Benchmarks, *parameters: str) -> dict[tuple[Any, ...], float]:
    """Give the median of all turns' medians, in seconds of CPU, by the named parameters."""
    seconds: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for one in benchmarks:
        seconds[tuple(one["params"][name] for name in parameters)].append(one["stats"]["median"])
    return {key: median(taken) for key, taken in seconds.items()}


def extras(benchmarks: Benchmarks, name: str, *parameters: str) -> dict[tuple[Any, ...], list[Any]]:
    """Collect what tests wrote down beside their times, by the named parameters."""
    found: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for one in benchmarks:
        value = one["extra_info"][name]
        found[tuple(one["params"][key] for key in parameters)] += value if isinstance(value, list) else [value]
    return found


def write_table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Write a table of which all columns but the first are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def milliseconds(seconds: float) -> str:
    """Write a duration."""
    return f"{seconds * 1000:,.1f}"


def distinct(benchmarks: Benchmarks, name: str) -> list[Any]:
    """List a parameter's values in their order."""
    return list(dict.fromkeys(one["params"][name] for one in benchmarks))


class Aim(NamedTuple):
    """One thing that is asked of fastetl."""

    what: str
    reached: float
    must: float
    aim: float
    more: bool = False
    """Whether more is better."""

    def row(self) -> list[str]:
        """Write it as a row of the table."""
        met = [self.reached >= bound if self.more else self.reached <= bound for bound in (self.must, self.aim)]
        sign, verdict = "≥" if self.more else "≤", "aim" if met[1] else "yes" if met[0] else "**no**"
        return [self.what, f"{self.reached:.2f}", f"{sign} {self.must:g}", f"{sign} {self.aim:g}", verdict]


def build_aims_table(measured: dict[str, Any]) -> list[str]:
    """What fastetl is to reach, and has reached."""
    finders = (find_event_aims, find_function_aims, find_backfill_aims, find_build_aims, find_file_aims)
    rows = [aim.row() for find in finders for aim in find(measured)]
    return write_table(["what is asked", "reached", "must", "aim", "met"], rows) if rows else []


def find_event_aims(measured: dict[str, Any]) -> Iterator[Aim]:
    """Of an event's way to a file."""
    taken = medians(of(measured, "test_transform"), "name", "candidate")
    for shape in distinct(of(measured, "test_transform"), "name"):
        if shape == "huge":
            yield Aim("huge, times as fast as (c)", taken[shape, "c"] / taken[shape, "raw path"], 2, 4, more=True)
        else:
            yield Aim(f"{shape}, floors", taken[shape, "raw path"] / taken[shape, FLOOR], 1.5, 1.2)
        if shape == "flat":
            yield Aim("flat, times as fast as (c)", taken[shape, "c"] / taken[shape, "raw path"], 7, 8.5, more=True)
            yield Aim("flat, times as fast as (a)", taken[shape, "a"] / taken[shape, "raw path"], 12, 15, more=True)


def find_function_aims(measured: dict[str, Any]) -> Iterator[Aim]:
    """Of the function in the runtime client."""
    cpu = {hook: median(each) for (hook,), each in extras(of(measured, "test_invocation"), "cpu", "hook").items()}
    if COMMIT in cpu:
        ratio = cpu["with the hook"] / cpu[COMMIT]
        yield Aim(f"invocation of 4,000 records with the hook, against {COMMIT}", ratio, 0.55, 0.45)
    for one in of(measured, "test_memory"):
        info = one["extra_info"]
        yield Aim(f"memory over idle, {info['shape']}, payloads", max(info["growth"]) / info["payload"], 5, 3.5)
    starts = {start: median(each) for (start,), each in extras(of(measured, "test_cold_start"), "cpu", "start").items()}
    if starts:
        yield Aim("cold start of ingest, against its libraries", starts["ingest"] / next(iter(starts.values())), 1.1, 1)


def find_backfill_aims(measured: dict[str, Any]) -> Iterator[Aim]:
    """Of a backfill."""
    speeds = find_backfill_speeds(measured)
    if COMMIT in speeds:
        yield Aim(f"backfill, times as fast as {COMMIT}", speeds["now"] / speeds[COMMIT], 3, 3.8, more=True)


def find_build_aims(measured: dict[str, Any]) -> Iterator[Aim]:
    """Of building the native pass."""
    builds = of(measured, "test_build")
    if builds:
        installed = sum(one["extra_info"]["wall"] for one in of(measured, "test_install"))
        seconds = builds[0]["extra_info"]["cpu"] + installed
        yield Aim("seconds that the native pass adds to `make install` (compiling: of CPU)", seconds, 30, 10)
        yield Aim("MB of its shared object", max(one["extra_info"]["size"] for one in builds) / 1e6, 1, 0.4)


def find_file_aims(measured: dict[str, Any]) -> Iterator[Aim]:
    """Of what is uploaded."""
    uploads = medians(of(measured, "test_upload"), "way", "size")
    for size in distinct(of(measured, "test_upload"), "size"):
        ratio = uploads["fastetl", size] / uploads["aioboto3 with its defaults", size]
        yield Aim(f"upload of {size:,} bytes against aioboto3's defaults", ratio, 0.8, 0.5)
    sizes = extras(of(measured, "test_compressor"), "file_bytes", "compressor", "shape")
    if sizes:
        ratio = sizes["igzip 1", "flat"][0] / sizes["zlib 6", "flat"][0]
        yield Aim("gzip size, flat, against zlib 6", ratio, 1.2, 1.05)


def find_backfill_speeds(measured: dict[str, Any]) -> dict[str, float]:
    """Items a CPU second, by the way."""
    found = extras(of(measured, "test_backfill"), "items_a_cpu_second", "way")
    return {way: median(each) for (way,), each in found.items()}


def build_backfill_table(measured: dict[str, Any]) -> list[str]:
    """Lines of an export to files."""
    speeds = find_backfill_speeds(measured)
    peaks = {way: max(each) for (way,), each in extras(of(measured, "test_backfill"), "peak", "way").items()}
    rows = [[way, f"{speed:,.0f}", f"{peaks[way]:,.0f}" if peaks[way] else "-"] for way, speed in speeds.items()]
    return (
        write_table(["backfill: lines of an export to files", "items a CPU second", "MiB at most"], rows)
        if rows
        else []
    )


def build_transform_table(benchmarks: Benchmarks) -> list[str]:
    """Everybody's CPU milliseconds, and how many times as long as fastetl's raw path."""
    taken = medians(benchmarks, "name", "candidate")
    shapes = distinct(benchmarks, "name")

    def cell(shape: str, candidate: str) -> str:
        if (shape, candidate) not in taken:
            return "-"
        times = taken[shape, candidate] / taken[shape, "raw path"]
        return milliseconds(taken[shape, candidate]) + (f" ({times:.1f}x)" if candidate != "raw path" else "")

    names = {**{key: peer.name for key, peer in PEERS.items()}, **{way: f"fastetl, {way}" for way in FASTETL}}
    rows = [
        [names.get(candidate, "floor"), *(cell(shape, candidate) for shape in shapes)]
        for candidate in (*PEERS, *FASTETL, FLOOR)
    ]
    return write_table(["median CPU ms of one event", *shapes], rows) if rows else []


def build_invocation_table(measured: dict[str, Any]) -> list[str]:
    """What the function takes in the real runtime client; its memory; its cold start."""
    invocations = extras(of(measured, "test_invocation"), "cpu", "hook")
    walls = extras(of(measured, "test_invocation"), "wall", "hook")
    starts = extras(of(measured, "test_cold_start"), "cpu", "start")
    rows = []
    if invocations:
        best = median(invocations["with the hook",])
        for (hook,), cpu in invocations.items():
            wall = milliseconds(median(walls[hook,]))
            rows.append(
                [
                    f"invocation, 4,000 flat records, {hook}",
                    f"{milliseconds(median(cpu))} CPU ms, {wall} ms in all",
                    f"{median(cpu) / best:.2f}",
                ]
            )
    few = extras(of(measured, "test_few_records"), "cpu", "records")
    rows += [
        [f"invocation, {records:,} flat records", f"{milliseconds(median(cpu))} CPU ms", f"{median(cpu) / best:.2f}"]
        for (records,), cpu in few.items()
    ]
    for one in of(measured, "test_memory"):
        info = one["extra_info"]
        growth = max(info["growth"])
        rows.append(
            [
                f"memory of {info['payload'] / 1e6:.1f} MB of {info['shape']} records, over"
                f" {info['idle'] / 2**20:.0f} MiB idle",
                f"{growth / 2**20:.0f} MiB",
                f"{growth / info['payload']:.1f} payloads",
            ]
        )
    for one in of(measured, "test_little_memory"):
        info = one["extra_info"]
        rows.append(
            [
                f"{info['invocations']} invocations in {info['limit'] / 2**20:.0f} MiB",
                f"{info['peak'] / 2**20:.0f} MiB at most",
                f"{info['refused']} allocations refused",
            ]
        )
    if starts:
        bare = median(next(iter(starts.values())))
        rows += [
            [f"cold start: {name}", f"{milliseconds(median(cpu))} CPU ms", f"{median(cpu) / bare:.2f}"]
            for (name,), cpu in starts.items()
        ]
    return write_table(["in the real Lambda runtime client", "median", "ratio"], rows) if rows else []


def build_import_table(benchmarks: Benchmarks) -> list[str]:
    """The packages that a cold start spends most on."""
    found = {one["params"]["root"]: one["extra_info"]["microseconds"] for one in benchmarks}
    packages = {name for taken in found.values() for name in taken}
    largest = sorted(packages, key=lambda name: -max(taken.get(name, 0) for taken in found.values()))[:12]
    totals = ["all", *(f"{sum(taken.values()) / 1000:,.0f}" for taken in found.values())]
    rows = [[name, *(f"{taken.get(name, 0) / 1000:,.0f}" for taken in found.values())] for name in largest]
    return write_table(["imports of a cold start, ms (`-X importtime`)", *found], [totals, *rows]) if rows else []


def build_stage_table(benchmarks: Benchmarks) -> list[str]:
    """The raw path's stages."""
    taken, shapes = medians(benchmarks, "stage", "shape"), distinct(benchmarks, "shape")
    rows = [
        [stage, *(milliseconds(taken[stage, shape]) for shape in shapes)] for stage in distinct(benchmarks, "stage")
    ]
    return write_table(["stages of the raw path, CPU ms", *shapes], rows) if rows else []


def build_parser_table(benchmarks: Benchmarks) -> list[str]:
    """Parsers of the same bytes."""
    taken, shapes = medians(benchmarks, "parser", "shape"), distinct(benchmarks, "shape")
    rows = [
        [parser, *(milliseconds(taken[parser, shape]) for shape in shapes)] for parser in distinct(benchmarks, "parser")
    ]
    return write_table(["reading the event's JSON, CPU ms", *shapes], rows) if rows else []


def build_compressor_table(benchmarks: Benchmarks) -> list[str]:
    """Compressors of the same CSV: time, and size against zlib's level 6."""
    taken, sizes = medians(benchmarks, "compressor", "shape"), extras(benchmarks, "file_bytes", "compressor", "shape")
    shapes = distinct(benchmarks, "shape")

    def cells(compressor: str) -> list[str]:
        found = []
        for shape in shapes:
            ratio = sizes[compressor, shape][0] / sizes["zlib 6", shape][0]
            found += [milliseconds(taken[compressor, shape]), f"{ratio:.2f}"]
        return found

    head = ["compressing the event's CSV", *(text for shape in shapes for text in (f"{shape}, CPU ms", "size"))]
    rows = [[compressor, *cells(compressor)] for compressor in distinct(benchmarks, "compressor")]
    return write_table(head, rows) if rows else []


def build_upload_table(benchmarks: Benchmarks) -> list[str]:
    """CPU of a PUT over TLS, MB a second, and the ratio to aioboto3's defaults."""
    taken, walls = medians(benchmarks, "way", "size"), extras(benchmarks, "wall", "way", "size")
    sizes = distinct(benchmarks, "size")
    at_once = benchmarks[0]["extra_info"]["puts"] if benchmarks else 1

    def cell(way: str, size: int) -> str:
        speed = at_once * size / median(walls[way, size]) / 1e6
        ratio = taken[way, size] / taken["aioboto3 with its defaults", size]
        return f"{milliseconds(taken[way, size] / at_once)} ({ratio:.2f}x), {speed:,.0f} MB/s"

    head = [f"CPU ms of a PUT over TLS, {at_once} at a time", *(f"{size:,} bytes" for size in sizes)]
    rows = [[way, *(cell(way, size) for size in sizes)] for way in distinct(benchmarks, "way")]
    return write_table(head, rows) if rows else []


def build_ingest_scale_table(benchmarks: Benchmarks) -> list[str]:
    """Microseconds of CPU a record, as one thing grows."""
    taken = medians(benchmarks, "kind", "size")
    records, event_bytes = (extras(benchmarks, name, "kind", "size") for name in ("records", "event_bytes"))
    rows = [
        [
            f"{size:,} {kind}",
            f"{records[kind, size][0]:,}",
            f"{seconds / records[kind, size][0] * 1e6:,.1f}",
            f"{event_bytes[kind, size][0] / seconds / 1e6:,.0f}",
        ]
        for (kind, size), seconds in taken.items()
    ]
    head = ["ingest", "records of the event", "CPU µs a record", "MB of JSON a second"]
    return write_table(head, rows) if rows else []


def build_coordinator_table(benchmarks: Benchmarks) -> list[str]:
    """What a wake-up takes that finds a number of files and opens a batch."""
    taken = medians(benchmarks, "pending")
    found = {name: extras(benchmarks, name, "pending") for name in ("files", "calls", "peak_bytes")}
    rows = [
        [
            f"{pending:,}",
            f"{found['files'][pending,][0]:,}",
            milliseconds(seconds),
            f"{found['calls'][pending,][0]:,}",
            f"{max(found['peak_bytes'][pending,]) / 2**20:.1f}",
        ]
        for (pending,), seconds in taken.items()
    ]
    head = ["a wake-up, by the files that wait", "files of the batch", "CPU ms", "requests", "MiB"]
    return write_table(head, rows) if rows else []


def build_marking_table(benchmarks: Benchmarks) -> list[str]:
    """What ends a batch, by the file."""
    if not benchmarks:
        return []
    each = medians(benchmarks)[()] / benchmarks[0]["extra_info"]["files"]
    return write_table(["when a batch has been loaded", "CPU ms"], [["marking one of its files", f"{each * 1000:.2f}"]])


def build_geoip_table(benchmarks: Benchmarks) -> list[str]:
    """CPU milliseconds, and how much of the decoding that is."""
    taken = medians(benchmarks, "way")
    if not taken:
        return []
    decoding, records = taken["decoding the event",], benchmarks[0]["extra_info"]["records"]
    rows = [[way, milliseconds(seconds), f"{seconds / decoding:.2f}"] for (way,), seconds in taken.items()]
    return write_table(
        [f"Geo-IP: country and city of {records:,} different addresses", "median CPU ms", "of decoding"], rows
    )


def build_help_table(benchmarks: Benchmarks) -> list[str]:
    """CPU milliseconds of a process, and the ratio to an empty typer program."""
    taken = {program: median(seconds) for (program,), seconds in extras(benchmarks, "cpu", "program").items()}
    empty = taken.get("an empty typer program --help", 1.0)
    rows = [[name, milliseconds(seconds), f"{seconds / empty:.2f}"] for name, seconds in taken.items()]
    return write_table(["a process", "CPU ms", "ratio"], rows) if rows else []


def build_charts(measured: dict[str, Any]) -> dict[str, str]:
    """Draw what is easier seen than read, by the name of its file."""
    charts = {}
    taken = medians(of(measured, "test_transform"), "name", "candidate")
    for shape in CHARTED_SHAPES:
        ways = [way for way in (*PEERS, *FASTETL, FLOOR) if (shape, way) in taken]
        if ways:
            values = {f"fastetl, {way}" if way in FASTETL else way: taken[shape, way] for way in ways}
            charts[f"transform-{shape}"] = draw_bars(
                values, lambda name: name.startswith("fastetl"), lambda seconds: f"{seconds * 1000:,.0f} ms"
            )
    scale = of(measured, "test_ingest")
    grown = medians(scale, "kind", "size")
    records = extras(scale, "records", "kind", "size")
    for kind in distinct(scale, "kind"):
        points = [
            (float(size), seconds / records[kind, size][0] * 1e6)
            for (each, size), seconds in grown.items()
            if each == kind
        ]
        charts[f"ingest-{kind.replace(' ', '-')}"] = draw_line(points, kind, "CPU µs a record")
    return charts


def describe_machine(measured: dict[str, Any]) -> str:
    """Say when, on what and with which versions."""
    machine = measured["machine_info"]
    packages = ", ".join(f"{name} {version}" for name, version in sorted(machine["packages"].items()))
    processor = re.sub(r"\s+", " ", machine["cpu"].get("brand_raw", machine["machine"]))
    day = measured["datetime"][:10]
    return f"{day}, {processor}, Python {machine['python_version']}, one core. {packages}."


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
