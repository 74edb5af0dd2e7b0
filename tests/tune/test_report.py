"""The report: opened in a browser it draws its charts, reports no error, and says what `--json` says."""

import re
import shutil
import subprocess

import msgspec
import pytest

from fastetl.tune.answer import Answer, build_answer, current_settings
from fastetl.tune.model import Workload, predict
from fastetl.tune.prices import Book
from fastetl.tune.report import COLUMNS, build_page, write_row
from fastetl.tune.search import Goal, search
from tests.local.product import make_pipeline
from tests.tune.test_day import MEASURED, SHOP

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--v=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def answer() -> Answer:
    book, pipeline, workload, goal = Book(), make_pipeline("orders"), Workload(500, SHOP), Goal(900)
    current = predict(MEASURED, current_settings(pipeline), workload, book)
    proposals = search([MEASURED], workload, goal, book)
    return build_answer(pipeline, "<made up> & few", (MEASURED,), workload, goal, current, proposals, book, None)


def test_the_page_holds_the_answer_and_needs_nothing_else(answer):
    page = build_page(answer)
    text = re.search(r'<script type="application/json" id="answer">(.*?)</script>', page, re.DOTALL)[1]
    text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert msgspec.json.decode(text, type=Answer) == answer
    assert not re.findall(r'(?:src|href)="(?!data:|https://lambda-power-tuning)', page)
    assert "<made up>" not in page


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_shows_it(answer, tmp_path):
    page = tmp_path / "report.html"
    page.write_text(build_page(answer))
    shown = subprocess.run(
        [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in shown.stderr
    dom = shown.stdout
    assert dom.count("<svg") == 4
    assert len(re.findall(r"<circle[^>]*class=\"c\d dot\"", dom)) > 20
    cells = [cell.replace("&amp;", "&") for cell in re.findall(r"<t[hd]>(.*?)</t[hd]>", dom)]
    rows = [cells[start : start + len(COLUMNS)] for start in range(0, len(cells), len(COLUMNS))]
    expected = [write_row(name, prediction) for name, prediction in answer.rows.items()]
    assert rows == [list(COLUMNS), *map(list, expected)]


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
