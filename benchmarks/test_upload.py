"""What sending a file to S3 takes, over TLS to a sink in another process: fastetl's way, and SDKs' own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import aioboto3
import boto3
import pytest

from fastetl.aws.bodies import prepare_uploads
from fastetl.aws.clients import _client_config
from fastetl.aws.ledger import Ledger
from fastetl.aws.s3 import Bucket

TURNS, ROUNDS = 5, 5
AT_ONCE = 4
"""Files on their way at the same time, as a multipart upload's parts are."""
SIZES = (100_000, 1_000_000, 8 * 2**20)
FILES = 320
WAYS = ("fastetl", "aioboto3 with its defaults", "boto3 with threads")
KEYS = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": "us-east-1"}


@pytest.fixture(scope="module")
def sink(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sink")
    others = os.sched_getaffinity(0)
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sink", folder], stdout=subprocess.PIPE, text=True
    ) as process:
        # The sink has a core of its own, where there is one.
        os.sched_setaffinity(process.pid, set(range(os.cpu_count() or 1)) - others or others)
        yield f"https://127.0.0.1:{process.stdout.readline().strip()}", str(folder / "sink.pem")
        process.terminate()


@pytest.fixture(scope="module")
def ways(sink):
    endpoint, certificate = sink
    runner = asyncio.Runner()
    options = {"endpoint_url": endpoint, "verify": certificate}
    session = aioboto3.Session(**KEYS)
    contexts = [session.client("s3", config=_client_config("s3"), **options), session.client("s3", **options)]
    ours, plain = (runner.run(context.__aenter__()) for context in contexts)
    prepare_uploads(ours)
    threaded = boto3.Session(**KEYS).client("s3", **options)
    pool = ThreadPoolExecutor(AT_ONCE)
    bucket = Bucket(ours, "bucket")

    def by_fastetl(bodies):
        async def put():
            return await asyncio.gather(*(bucket.put(f"{n}", iter([body]), {}) for n, body in enumerate(bodies)))

        runner.run(put())

    def by_aioboto3(bodies):
        async def put():
            calls = (plain.put_object(Bucket="bucket", Key=f"{n}", Body=body) for n, body in enumerate(bodies))
            return await asyncio.gather(*calls)

        runner.run(put())

    def by_boto3(bodies):
        list(pool.map(lambda body: threaded.put_object(Bucket="bucket", Key="0", Body=body), bodies))

    yield dict(zip(WAYS, (by_fastetl, by_aioboto3, by_boto3), strict=True))
    for context in contexts:
        runner.run(context.__aexit__(None, None, None))
    pool.shutdown()
    runner.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("turn", range(TURNS))
def test_upload(benchmark, ways, turn, size, way):
    bodies = [os.urandom(size)] * AT_ONCE
    wall = []

    def run():
        started = time.perf_counter()
        ways[way](bodies)
        wall.append(time.perf_counter() - started)

    benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=1)
    benchmark.extra_info.update(puts=AT_ONCE, wall=wall[1:])


@pytest.fixture(scope="module")
def ledger(sink):
    endpoint, certificate = sink
    runner = asyncio.Runner()
    context = aioboto3.Session(**KEYS).client(
        "dynamodb", config=_client_config("dynamodb"), endpoint_url=endpoint, verify=certificate
    )
    yield runner, Ledger(runner.run(context.__aenter__()), "ledger")
    runner.run(context.__aexit__(None, None, None))
    runner.close()


@pytest.mark.parametrize("turn", range(TURNS))
def test_marking_loaded_files(benchmark, ledger, turn):
    """What ends a batch: a conditional write for each of its files."""
    runner, marks = ledger
    names = [f"{number:032x}" for number in range(FILES)]

    def mark():
        runner.run(marks.files.mark_loaded(dict.fromkeys(names, "batch"), now_ms=0))

    benchmark.pedantic(mark, rounds=ROUNDS, warmup_rounds=1)
    benchmark.extra_info.update(files=FILES)
