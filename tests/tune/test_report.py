"""The report: a browser draws its charts in light and dark, and it says what `fastetl tune --json` says."""

import json
import re
import shutil
import subprocess
import sys
from html import escape, unescape
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
from fastetl.tune.search import Goal, find_proposals
from tests.local.product import make_pipeline
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


@pytest.fixture(scope="module")
def answer() -> Answer:
    book, pipeline, workload, goal = Book(), make_pipeline("orders"), Workload(500, SHOP), Goal(900)
    settings = current_settings(pipeline)
    current = predict(MEASURED, settings, workload, book)
    proposals = find_proposals([MEASURED], workload, goal, book, settings)
    return build_answer(pipeline, SAVED, workload, goal, current, proposals, book, CALIBRATION)


def browse(folder: Path, page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [CHROMIUM, *QUIET, f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=250, check=True)


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
        find_proposals([MEASURED], Workload(10), Goal(900), Book(), answer.current.settings), Book(), None,
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
        capture_output=True, text=True, timeout=250, check=True,
    )  # fmt: skip
    shown = browse(tmp_path, page, "--dump-dom")
    assert "CONSOLE" not in shown.stderr
    dom = shown.stdout
    cells = [unescape(cell) for cell in re.findall(r"<t[hd]>(.*?)</t[hd]>", dom)]
    answer = json.loads(told.stdout)
    table = {cells[at]: cells[at + 1 : at + 5] for at in range(0, 5 * len(COLUMNS), 5)}
    assert table[""] == ["current", "cheapest", "balanced", "fastest"]
    for place, name in enumerate(table[""]):
        one = answer[name]
        dollars = sum(one["dollars_per_day"].values())
        assert table["memory"][place] == f"{one['settings']['memory_mb']} MB"
        assert table["batch size"][place] == f"{one['settings']['batch_size']:,}"
        assert table["$ per million"][place] == f"{one['per_million']:,.3f}"
        late = ", misses" * (one["fresh_p99"] > answer["goal"]["freshness_seconds"])
        assert table["p99"][place] == f"{one['fresh_p99']:,.0f} s{late}"
        assert table["memory left"][place] == f"{1 - one['memory_mb'] / one['settings']['memory_mb']:.0%}"
        assert f"{name}: ${dollars:,.2f} a day" in unescape(dom)
    assert len(re.findall(r'class="(?:chosen|running)"', dom)) >= 3


def test_what_misses_the_goal_says_so_and_why_it_is_cheaper(answer):
    seconds = answer.current.fresh_p99
    goal = Goal(seconds - 1)
    proposals = find_proposals([MEASURED], answer.workload, goal, Book(), answer.current.settings)
    told = build_answer(make_pipeline("orders"), SAVED, answer.workload, goal, answer.current, proposals, Book(), None)
    assert f"<td>{seconds:,.0f} s, misses</td>" in build_page(told)
    (note,) = [note for note in told.notes if "misses" in note]
    assert f"take {seconds:,.0f} s, not {goal.freshness_seconds:,.0f} s" in note
    assert ("less than the cheapest" in note) == (told.current.dollars < told.cheapest.dollars)
    slow = msgspec.structs.replace(answer.current, margin=1.2)
    told = build_answer(make_pipeline("orders"), SAVED, answer.workload, answer.goal, slow, proposals, Book(), None)
    assert "<td>1.2, misses</td>" in build_page(told)
    assert "it carries 1.2 times the busiest hour's rate, not 1.5 times" in "".join(told.notes)


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_mistake_on_a_page_would_be_told(tmp_path):
    page = tmp_path / "wrong.html"
    page.write_text("<script>console.error('wrong')</script>")
    assert "CONSOLE" in browse(tmp_path, page, "--dump-dom").stderr


FRAME = """<iframe id="page" width="{width}" height="2000" srcdoc="{page}"></iframe><script>
page.onload = () => {{
  const all = [...page.contentDocument.querySelectorAll(".label, .bar, h1, p")];
  document.title = Math.max(...all.map(one => one.getBoundingClientRect().right));
}}
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [320, 1000])
def test_no_label_and_no_bar_is_cut(answer, tmp_path, width):
    page = tmp_path / "frame.html"
    page.write_text(FRAME.format(width=width, page=escape(build_page(answer))))
    dom = browse(tmp_path, page, "--dump-dom").stdout
    assert 0 < float(re.search(r"<title>([\d.]+)</title>", dom)[1]) <= width


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
