"""Converting an export on this machine: items a second, memory of a worker, and time against the number of workers.

`python -m benchmarks.backfill FOLDER --items 10000000` writes a seeded export (once), converts it with 1 and 2 workers,
and reads the same files with orjson alone, and with what users would write, for as long as that takes to be clear.
Files go to the disk: what S3 takes is not measured.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import csv
import gzip
import hashlib
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import simplejson
from boto3.dynamodb.types import TypeDeserializer
from isal import igzip, isal_zlib

os.environ["POLARS_MAX_THREADS"] = "1"

from tests.deployments import make_deployment

from benchmarks.events import SEED, build_order, flat_pipeline
from fastetl.aws.stored_object import StoredObject
from fastetl.backfill.convert import Converter
from fastetl.backfill.export_format import DataFile, Export, parse_files, write_files
from fastetl.config.model import Config
from fastetl.enrich.enricher import Enricher
from fastetl.ingest.store import FileStore

ARN = "arn:aws:dynamodb:eu-central-1:123456789012:table/orders"
ITEMS_A_FILE = 250_000
PART_SECONDS = 20
"""How long the slow ones are watched."""


class Disk:
    """As much of a bucket as a conversion needs, on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.bytes = 0

    async def put(self, key: str, pieces: Any, metadata: Any, **_: Any) -> StoredObject:
        path = self._folder / key.replace("/", "_")
        with path.open("wb") as file:
            for piece in pieces:
                file.write(piece)
                self.bytes += len(piece)
        size = path.stat().st_size
        path.unlink()
        return StoredObject(key, size, "", dict(metadata), created=True)


class Registrar:
    """As much of a ledger as a conversion needs; it keeps nothing."""

    def __init__(self) -> None:
        self.files = self

    async def register(self, item: Any) -> Any:
        return item


def write_data_file(folder: Path, number: int, count: int) -> DataFile:
    """Write one data file of seeded orders."""
    key = f"data/{number:05d}.json.gz"
    path = folder / key
    chance = random.Random(f"{SEED} {number}")
    md5 = hashlib.md5(usedforsecurity=False)
    gz = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)
    with path.open("wb") as file:
        for start in range(0, count, 1000):
            lines = [b'{"Item":%s}\n' % orjson.dumps(build_order(chance)) for _ in range(min(1000, count - start))]
            piece = gz.compress(b"".join(lines))
            md5.update(piece)
            file.write(piece)
        piece = gz.flush()
        md5.update(piece)
        file.write(piece)
    return DataFile(key, count, base64.b64encode(md5.digest()).decode())


def convert(folder: Path, file: DataFile) -> dict[str, float]:
    """Convert one data file; give CPU seconds, peak memory in MiB, files and bytes."""
    pipeline = flat_pipeline()
    with tempfile.TemporaryDirectory() as directory:
        disk = Disk(Path(directory))
        store = FileStore(make_deployment(Config("b", "l", (pipeline,)), pipeline, disk, Registrar()))
        store._layout_written = True
        converter = Converter(pipeline, store, Enricher(pipeline))
        export = Export("bench", ARN, "full", 1_767_225_600, file.items, "")
        began = time.process_time()
        done = asyncio.run(converter.convert(export, file, folder / file.key, (), pipeline.file.split_bytes))
    assert done.rows == file.items, done
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "cpu": time.process_time() - began,
        "peak": peak,
        "files": done.files,
        "bytes": disk.bytes,
        "items": done.items,
    }


def read_with_orjson(folder: Path, file: DataFile, seconds: float) -> tuple[int, float]:
    """Read lines with orjson and nothing else."""
    began, items = time.process_time(), 0
    with igzip.open(folder / file.key) as lines:
        for line in lines:
            orjson.loads(line)
            items += 1
            if items % 1000 == 0 and time.process_time() - began > seconds:
                break
    return items, time.process_time() - began


def read_with_deserializer(folder: Path, file: DataFile, seconds: float) -> tuple[int, float]:
    """Do what users would write: gzip, json, TypeDeserializer, csv, gzip."""
    deserialize = TypeDeserializer().deserialize
    names = [column.name for column in flat_pipeline().columns]
    began, items = time.process_time(), 0
    with gzip.open(io.BytesIO(), "wt", newline="") as out, gzip.open(folder / file.key) as lines:
        writer = csv.writer(out)
        for line in lines:
            item = {name: deserialize(value) for name, value in simplejson.loads(line)["Item"].items()}
            writer.writerow([item.get(name) for name in names])
            items += 1
            if items % 1000 == 0 and time.process_time() - began > seconds:
                break
    return items, time.process_time() - began


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--items", type=int, default=10_000_000)
    parser.add_argument("--workers", default="1,2")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    context = multiprocessing.get_context("spawn")
    if not (folder / "manifest-files.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "data").mkdir(parents=True)
        counts = [min(ITEMS_A_FILE, arguments.items - start) for start in range(0, arguments.items, ITEMS_A_FILE)]
        with ProcessPoolExecutor(2, context) as pool:
            files = list(pool.map(write_data_file, [folder] * len(counts), range(len(counts)), counts))
        (folder / "manifest-files.json").write_bytes(write_files(files))
    files = list(parse_files((folder / "manifest-files.json").read_bytes(), "manifest"))
    items = sum(file.items for file in files)
    size = sum((folder / file.key).stat().st_size for file in files)
    print(f"{items:,} items, {len(files)} data files, {size / 2**20:,.0f} MiB compressed")
    slow = {
        "orjson alone": read_with_orjson(folder, files[0], PART_SECONDS),
        "TypeDeserializer, csv, gzip": read_with_deserializer(folder, files[0], PART_SECONDS),
    }
    for name, (read, seconds) in slow.items():
        print(f"| {name} | {read / seconds:,.0f} | measured on {read:,} items |")
    for workers in map(int, arguments.workers.split(",")):
        chosen = files if workers == 2 else files[: max(1, len(files) // 4)]
        began = time.perf_counter()
        with ProcessPoolExecutor(workers, context) as pool:
            done = list(pool.map(convert, [folder] * len(chosen), chosen))
        wall = time.perf_counter() - began
        converted = sum(int(each["items"]) for each in done)
        cpu = sum(each["cpu"] for each in done)
        half = max(each["peak"] for each in done[: len(done) // 2 or 1])
        report = {
            "workers": workers, "items": converted, "wall_seconds": round(wall, 1),
            "items_per_cpu_second": int(converted / cpu),
            "items_per_second": int(converted / wall), "peak_mib": int(max(each["peak"] for each in done)),
            "peak_mib_first_half": int(half), "files": int(sum(each["files"] for each in done)),
            "mib_written": int(sum(each["bytes"] for each in done) / 2**20),
        }  # fmt: skip
        print(json.dumps(report))


if __name__ == "__main__":
    main()
