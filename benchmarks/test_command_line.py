"""How long the command takes until it helps: CPU time of a process, beside an empty program made with typer."""

import resource
import subprocess
import sys

import pytest

EMPTY = """
import typer
app = typer.Typer()
@app.command()
def one(): pass
@app.command()
def two(): pass
app()
"""
PROGRAMS = {
    "an empty typer program --help": ["-c", EMPTY, "--help"],
    "fastetl --help": ["-c", "from fastetl.cli import app; app()", "--help"],
    "fastetl status --help": ["-c", "from fastetl.cli import app; app()", "status", "--help"],
    "fastetl --version": ["-c", "from fastetl.cli import app; app()", "--version"],
}


@pytest.mark.parametrize("turn", range(5))
@pytest.mark.parametrize("program", PROGRAMS)
def test_help(benchmark, program, turn):
    cpu = []

    def run():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *PROGRAMS[program]], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    benchmark.pedantic(run, rounds=1, warmup_rounds=turn == 0)
    benchmark.extra_info.update(cpu=cpu[-1:])
