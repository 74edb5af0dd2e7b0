"""`python -m examples.single_table NAME` prints a design's items as JSON lines, for `fastetl init --items`."""

from __future__ import annotations

import json
import sys

from examples.single_table.designs import DESIGNS


def main() -> None:
    """Print the items of the design that is named."""
    if len(sys.argv) != 2 or sys.argv[1] not in DESIGNS:  # noqa: PLR2004 - the command and a name
        raise SystemExit(f"name one of {', '.join(DESIGNS)}")
    for _, item in DESIGNS[sys.argv[1]].build_items():
        print(json.dumps({"Item": item}))  # noqa: T201 - it is what the command is for


main()
