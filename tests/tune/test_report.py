"""The report: a browser draws its charts in light and dark, and it says what `fastetl tune --json` says."""

import json
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import msgspec
import pytest

from fastetl.tune.answer import Answer, build_answer, current_settings
from fastetl.tune.calibrate import Calibration, Compared
from fastetl.tune.model import Workload
from fastetl.tune.prediction import predict
from fastetl.tune.prices import Book
from fastetl.tune.report import COLUMNS, build_page
from fastetl.tune.saved import Saved
from fastetl.tune.search import Goal, search
from tests.local.product import make_pipeline
from tests.tune.png import count_pixels
from tests.tune.test_day import MEASURED, SHOP

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--v=0",
)  # fmt: skip
SAVED = Saved("orders", "<made up> & few", 700.0, (MEASURED,), "x86_64")
CALIBRATION = Calibration(
    12,
    2,
    Compared(0.123, 0.234),
    Compared(2.5, 3.75),
    Compared(115, 141),
    Compared(1.1, 1.7),
    Compared(1, 1.5),
    Compared(1, 1.6),
    Compared(0, 26),
)
SERIES = [(0x2F, 0x6F, 0xDE), (0xD9, 0x63, 0x2B), (0x2B, 0x9A, 0x66), (0xCF, 0x3F, 0x6B)]
"""Colours of `report`: `.c0`, `.c1`, `.c2` and `.c5`, in which lines and bars are drawn."""
PAPER = {"light": (0xFB, 0xFB, 0xF9), "dark": (0x14, 0x17, 0x1C)}


@pytest.fixture(scope="module")
def answer() -> Answer:
    book, pipeline, workload, goal = Book(), make_pipeline("orders"), Workload(500, SHOP), Goal(900)
    settings = current_settings(pipeline)
    current = predict(MEASURED, settings, workload, book)
    proposals = search([MEASURED], workload, goal, book, settings)
    return build_answer(pipeline, SAVED, workload, goal, current, proposals, book, CALIBRATION)


def browse(folder: Path, page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [CHROMIUM, *QUIET, f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


def test_the_page_holds_the_answer_and_needs_nothing_else(answer):
    page = build_page(answer)
    text = re.search(r'<script type="application/json" id="answer">(.*?)</script>', page, re.DOTALL)[1]
    text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert msgspec.json.decode(text, type=Answer) == answer
    assert not re.findall(r'(?:src|href)="(?!data:|https://lambda-power-tuning)', page)
    assert "<made up>" not in page


def test_the_page_says_how_far_to_trust_it(answer):
    cells = [unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", build_page(answer))]
    for row in (
        ["duration, median", "123 ms", "234 ms"], ["billed, in all", "2,500 ms", "3,750 ms"],
        ["memory used, median", "115 MB", "141 MB"], ["start, median", "1,100 ms", "1,700 ms"],
        ["cpu_factor", "1.00", "1.50"], ["more_memory_mb", "0", "26"],
    ):  # fmt: skip
        assert any(cells[at : at + len(row)] == row for at in range(len(cells))), row


def test_what_limits_the_answer_is_said(answer):
    notes = "\n".join(answer.notes)
    assert "us-east-1, 2026-06-14" in notes
    assert "part_size has no influence" in notes
    assert "part_size" not in answer.configuration
    assert "arm64" not in notes, "calibrated"
    pipeline = msgspec.structs.replace(
        make_pipeline("orders"), stream_arn="arn:aws:dynamodb:eu-central-1:1:table/orders/stream/2026"
    )
    told = build_answer(
        pipeline, SAVED, answer.workload, answer.goal, answer.current,
        search([MEASURED], Workload(10), Goal(900), Book(), answer.current.settings), Book(), None,
    )  # fmt: skip
    notes = "\n".join(told.notes)
    for said in ("eu-central-1", "arm64 is priced with CPU time that was measured on x86_64"):
        assert said in notes


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_shows_what_the_command_answers(tmp_path):
    measured, page = tmp_path / "measured.json", tmp_path / "report.html"
    measured.write_bytes(msgspec.json.encode(SAVED))
    told = subprocess.run(
        [
            Path(sys.executable).with_name("fastetl"), "tune", "--shape", "flat", "--measured", measured,
            "--html", page, "--json",
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    shown = browse(tmp_path, page, "--dump-dom")
    assert "CONSOLE" not in shown.stderr
    dom = shown.stdout
    assert dom.count("<svg") == 4
    assert len(re.findall(r"<circle[^>]*class=\"c\d dot\"", dom)) > 20
    cells = [unescape(cell) for cell in re.findall(r"<t[hd]>(.*?)</t[hd]>", dom)]
    width, answer = len(COLUMNS), json.loads(told.stdout)
    assert cells[:width] == list(COLUMNS)
    for number, name in enumerate(("current", "cheapest", "balanced", "fastest"), 1):
        row, one = cells[number * width : (number + 1) * width], answer[name]
        dollars = sum(one["dollars_per_day"].values())
        headroom = 1 - one["memory_mb"] / one["settings"]["memory_mb"]
        assert row[:3] == [name, f"{one['settings']['memory_mb']} MB", f"{one['settings']['batch_size']:,}"]
        assert row[8:14] == [
            f"{one['per_million']:,.3f}", f"{dollars:,.2f}", f"{one['fresh_p50']:,.0f} s",
            f"{one['fresh_p99']:,.0f} s", f"{headroom:.0%}", f"{one['margin']:,.1f}",
        ]  # fmt: skip
        assert f"${dollars:,.2f} a day" in dom


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_mistake_on_a_page_would_be_told(tmp_path):
    page = tmp_path / "wrong.html"
    page.write_text("<script>console.error('wrong')</script>")
    assert "CONSOLE" in browse(tmp_path, page, "--dump-dom").stderr


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_charts_are_drawn_in_light_and_in_dark(answer, tmp_path):
    page = tmp_path / "report.html"
    page.write_text(build_page(answer))
    for name, options in (("light", ()), ("dark", ("--force-dark-mode",))):
        picture = tmp_path / f"{name}.png"
        browse(tmp_path, page, "--hide-scrollbars", "--window-size=1000,900", f"--screenshot={picture}", *options)
        pixels = count_pixels(picture)
        assert pixels.most_common(2)[0][0] == PAPER[name] or pixels.most_common(2)[1][0] == PAPER[name]
        for colour in SERIES:
            assert pixels[colour] > 50, (name, colour)


def test_the_link_holds_sizes_times_and_costs(answer):
    import base64  # noqa: PLC0415
    import struct  # noqa: PLC0415

    sizes, times, dollars = answer.power_tuning_url.partition("#")[2].split(";")
    count = len(base64.b64decode(sizes)) // 2
    memories = struct.unpack(f"<{count}h", base64.b64decode(sizes))
    seconds = struct.unpack(f"<{count}f", base64.b64decode(times))
    costs = struct.unpack(f"<{count}f", base64.b64decode(dollars))
    assert list(memories) == sorted(memories)
    assert list(seconds) == sorted(seconds, reverse=True)
    for memory, taken, cost in zip(memories, seconds, costs, strict=True):
        assert cost == pytest.approx(taken / 1000 * memory / 1024 * Book().gb_second, rel=1e-5)
