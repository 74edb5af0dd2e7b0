"""Write docs/configuration.md and docs/fastetl.schema.json from the code: `python docs/write_reference.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from fastetl.columns import RULES, Column, RedshiftType
from fastetl.config import ENVIRONMENT, build_schema

HERE = Path(__file__).parent
LONGEST_EXAMPLE = 60

HEAD = """\
# Configuration reference

<!-- Written by docs/write_reference.py from the code; `make docs` writes it again. -->

Everything that `fastetl.toml` may say. [fastetl.schema.json](fastetl.schema.json) says the same to editors that
complete and check TOML: `fastetl init` puts the line `#:schema ./fastetl.schema.json` at the top of the file it writes,
and the schema beside it. [examples/orders.toml](../examples/orders.toml) has every setting once,
[examples/people.toml](../examples/people.toml) the least that works. `fastetl check` shows every problem of a file.

A size is a number of bytes, or has a unit: `"128 MiB"`, `"5 GB"`. A time is a number of seconds, or has a unit:
`"90s"`, `"15m"`, `"2h"`.
"""


def write_schema() -> str:
    """Write the JSON Schema."""
    return json.dumps(build_schema(), indent=2, ensure_ascii=False) + "\n"


def write_reference() -> str:
    """Write the page."""
    schema = build_schema()
    parts = [HEAD, *_write_table("The file", "", schema)]
    pipeline = schema["properties"]["pipelines"]["items"]
    parts += _write_table("`[redshift]` and `[pipelines.redshift]`", "", schema["properties"]["redshift"])
    parts += _write_table("`[[pipelines]]`", "", pipeline)
    parts += _write_table("`[[pipelines.columns]]`", "", pipeline["properties"]["columns"]["items"])
    parts += ["### Types\n", "| type | a DynamoDB value that it takes |", "|---|---|", *_write_types(), ""]
    parts += _write_table("`[pipelines.file]`", "", pipeline["properties"]["file"])
    parts += _write_table("`[pipelines.load]`", "", pipeline["properties"]["load"])
    parts += _write_table("`[pipelines.mirror]` and `[pipelines.log]`", "", pipeline["properties"]["mirror"])
    targets = pipeline["properties"]["targets"]["items"]
    parts += _write_table("`[[pipelines.targets]]`", "", targets)
    parts += _write_table("`[[pipelines.targets.when]]`", "", targets["properties"]["when"]["items"])
    for enrichment in pipeline["properties"]["enrichments"]["items"]["oneOf"]:
        parts += _write_table(f'`[[pipelines.enrichments]]` with `kind = "{enrichment["title"]}"`', "", enrichment)
    parts += ["## Environment variables\n", "They win over the file, so that one file serves several deployments.\n"]
    parts += ["| variable | setting |", "|---|---|"]
    parts += [f"| `{variable}` | `{setting}` |" for setting, variable in ENVIRONMENT.items()]
    return "\n".join(parts) + "\n"


def _write_table(title: str, prefix: str, table: dict[str, Any]) -> Iterator[str]:
    yield f"## {title}\n"
    if table.get("description"):
        yield f"{' '.join(table['description'].split())}\n"
    yield "| setting | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, schema in table["properties"].items():
        if schema.get("type") == "object" or "const" in schema:
            continue
        default = "needed" if name in table["required"] else _write_default(schema)
        yield f"| `{prefix}{name}` | {_write_type(schema)} | {default} | {_escape(schema.get('description', ''))} |"
    yield ""


def _write_type(schema: dict[str, Any]) -> str:
    if "x-type" in schema:
        return _escape(schema["x-type"])
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_write_type(schema['items'])}"
    names = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    return names.get(schema.get("type", ""), "number" if schema.get("type") == "number" else "table")


def _write_default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    if default in (None, "", []):
        return "none"
    if isinstance(default, int) and "x-type" in schema:
        size = "size" in schema["x-type"]
        return f'`"{default // 1024**2} MiB"`' if size else f'`"{default // 60}m"`'
    return f"`{json.dumps(default)}`"


def _write_types() -> Iterator[str]:
    for kind, rule in RULES.items():
        arguments = ", ".join(bound.name for bound in rule.bounds)
        column = Column("example", ("example",), RedshiftType.parse(kind))
        example = json.dumps(rule.example(column, Random(1)), default=str)  # noqa: S311 - an example
        shown = example if len(example) <= LONGEST_EXAMPLE else example[:LONGEST_EXAMPLE] + "…"
        yield f"| `{kind}{f'({arguments})' if arguments else ''}` | `{_escape(shown)}` |"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    (HERE / "configuration.md").write_text(write_reference(), encoding="utf-8")
    (HERE / "fastetl.schema.json").write_text(write_schema(), encoding="utf-8")
