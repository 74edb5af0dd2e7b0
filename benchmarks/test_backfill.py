"""Lines of an export to files: now, at an earlier commit, and by orjson alone, which only reads.

Each in a process of its own, in turns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from benchmarks import baseline
from benchmarks.backfill import write_data_file
from fastetl.backfill.export_format import write_files

TURNS = 5
ITEMS = 100_000
WAYS = ("now", baseline.COMMIT, "orjson alone")

CONVERT = """
import json, sys
from pathlib import Path
from benchmarks import backfill
folder = Path(sys.argv[1])
(file,) = backfill.parse_files((folder / "manifest-files.json").read_bytes(), "manifest")
done = backfill.convert(folder, file)
print(json.dumps(done))
"""
READ = """
import json, sys
from pathlib import Path
from benchmarks import backfill
folder = Path(sys.argv[1])
(file,) = backfill.parse_files((folder / "manifest-files.json").read_bytes(), "manifest")
items, seconds = backfill.read_with_orjson(folder, file, 1e9)
print(json.dumps({"items": items, "cpu": seconds}))
"""


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    (folder / "data").mkdir()
    (folder / "manifest-files.json").write_bytes(write_files([write_data_file(folder, 0, ITEMS)]))
    return folder


@pytest.fixture(scope="module")
def commit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("commit")
    return folder if baseline.unpack(folder) else None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("turn", range(TURNS))
def test_backfill(benchmark, turn, way, export, commit):
    environment, cwd = dict(os.environ), baseline.ROOT
    if way == baseline.COMMIT:
        if commit is None:
            pytest.skip(f"this clone has no commit {baseline.COMMIT}")
        environment["PYTHONPATH"], cwd = baseline.build_path(commit), commit
    command = [sys.executable, "-c", READ if way == "orjson alone" else CONVERT, str(export)]

    def run():
        return subprocess.run(command, env=environment, cwd=cwd, check=True, capture_output=True, text=True).stdout

    done = json.loads(benchmark.pedantic(run, rounds=1).splitlines()[-1])
    assert done["items"] == ITEMS
    benchmark.extra_info.update(items_a_cpu_second=[ITEMS / done["cpu"]], peak=[done.get("peak", 0)])
