"""The log of the functions, as a person reads it."""

from __future__ import annotations

import json
from pathlib import Path

from fastetl.local.function_log import explain_line

MINE = 'def shout(frame):\n    raise ValueError("of an item")\n'


def test_what_a_users_function_raised_is_told_with_its_line(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(MINE)
    place = f"enrichment 0/function: ValueError at {mine}:2 in shout"
    line = {"level": "WARNING", "message": "enrichments raised", "pipeline": "pets", "service": "ingest"}
    errors = {place: 1, "enrichment 1/lookup: KeyError": 2_000}
    assert explain_line("ingest", json.dumps(line | {"errors": errors})) == (
        "ingest: enrichments raised (pipeline pets)\n"
        f"  {place}, in 1 row\n"
        '    raise ValueError("of an item")\n'
        "  enrichment 1/lookup: KeyError, in 2,000 rows"
    )
    assert explain_line("ingest", json.dumps(line)) == "ingest: enrichments raised (pipeline pets)"
    assert not explain_line("ingest", json.dumps(line | {"level": "INFO", "errors": errors}))
