"""`fastetl backfill` as a person calls it: what it says when it ends, however it ends, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fastetl.cli import deployments
from fastetl.model import Backfill
from tests.cli.in_process import call
from tests.cli.test_cli import CONFIG, run
from tests.cli.test_local import Background, background
from tests.exports import write_export

__all__ = ["background"]

NOISE = ("Unclosed", "client_session", "Traceback", "Exception ignored", "never retrieved")


def test_every_end_of_a_backfill_is_quiet(background: Background) -> None:
    (background.folder / "fastetl.toml").write_text(CONFIG)
    started = background.start()
    assert started.returncode == 0, started.stderr

    def export(name: str, *numbers: int, before: float) -> Path:
        files = [[{"Item": {"id": {"N": str(number)}, "note": {"S": "x"}}}] for number in numbers]
        return write_export(background.folder / name, files, exported_at=time.time() - before, export_id=name)

    def backfill(*options: str, **variables: str) -> tuple[int, str]:
        done = run(
            "backfill",
            "--config",
            "fastetl.toml",
            *options,
            cwd=background.folder,
            **(background.environment | variables),
        )
        assert not [each for each in NOISE if each in done.stderr], done.stderr
        return done.returncode, done.stderr

    whole, broken = export("whole", 1, 2, before=3600), export("broken", 3, 4, before=1800)
    next((broken / "data").iterdir()).write_bytes(b"nothing")
    vouched = "--read-since-export"
    code, told = backfill("--export", str(whole), vouched)
    assert (code, "2 items carried over" in told) == (0, True), told
    code, told = backfill("--export", str(broken), vouched, "--workers", "1")
    assert (code, "fastetl backfill --give-up" in told) == (1, True), told
    # It is in the way of nobody, and can be given up.
    other = export("other", 5, before=900)
    assert backfill("--export", str(other), vouched)[0] == 0
    assert backfill("--give-up", "--export", str(other))[0] == 1
    code, told = backfill("--give-up", "--export", str(broken))
    assert (code, "is given up" in told) == (0, True), told
    assert backfill("--give-up")[0] == 1
    assert backfill("--export", str(background.folder / "nowhere"))[0] == 1
    assert backfill("--export", str(whole), AWS_ENDPOINT_URL="http://127.0.0.1:1")[0] == 1
    assert backfill("--export", str(whole), vouched, FASTETL_LEDGER_TABLE="another")[0] == 1


@pytest.mark.parametrize("resync", [True, False])
def test_a_resync_that_is_given_up_names_what_is_left(monkeypatch: pytest.MonkeyPatch, *, resync: bool) -> None:
    ended = Backfill("orders", 2, "s3://lake/exports/1", "arn", 0, 1, 1, 0, resync=resync, state="GIVEN_UP")
    monkeypatch.setattr(deployments, "run", lambda *_: [ended])
    told = call("backfill", "--give-up").stderr
    assert "s3://lake/exports/1 is given up" in told
    assert ("run `fastetl resync -p orders`" in told) is resync
