"""What `fastetl.toml` may say, as a JSON Schema: editors complete and check by it; the reference is written from it.

Names, types, defaults and meanings are those of the Structs that the configuration becomes; only what the file writes
in another way is said here.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from typing import Any

import msgspec

from fastetl.columns import RULES, Column
from fastetl.config.conditions import Condition
from fastetl.config.enrichments import OPTIONS
from fastetl.config.model import Config, Enrichment, FileFormat, LoadPolicy, Pipeline, RedshiftTarget
from fastetl.config.storage import Storage

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

SIZE: Schema = {
    "oneOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^\d+ *([kKmMgG]i?)?[bB]?$"}],
    "x-type": 'a size: bytes, or like "128 MiB"',
}
TIME: Schema = {
    "oneOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^\d+ *[smhSMH]?$"}],
    "x-type": 'a time: seconds, or like "15m"',
}
_KINDS = sorted({*RULES, *(name for rule in RULES.values() for name in rule.synonyms)}, reverse=True)
TYPE: Schema = {
    "type": "string",
    "pattern": rf"^\s*({'|'.join(name for kind in _KINDS for name in (kind, kind.lower()))})\b",
    "x-type": "a Redshift type",
}
PATH: Schema = {
    "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": ["string", "integer"]}, "minItems": 1}],
    "x-type": 'like "a.b", or a list of names and list positions',
}
SORTKEY: Schema = {
    "oneOf": [{"const": "AUTO"}, {"type": "array", "items": {"type": "string"}}],
    "x-type": 'a list of columns, or "AUTO"',
}
GRANTEE: Schema = {"type": "string", "pattern": r"\S", "x-type": "text"}
SCALAR: Schema = {"type": ["string", "integer", "boolean"], "x-type": "a text, a whole number, true or false"}
WHEN = (
    "What holds of its items, all of it; nothing where it takes what no target before it takes. Not of a child table."
)
OUTPUT: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "Of the column."},
        "type": {**TYPE, "description": "Its Redshift type."},
    },
    "required": ["name", "type"],
    "additionalProperties": False,
}


def build_schema() -> Schema:
    """Build the JSON Schema of `fastetl.toml`."""
    redshift = _describe(RedshiftTarget, instead={"grant_to": {**_list_of(GRANTEE), "default": []}})
    storage = _describe(Storage, instead={"sortkey": SORTKEY})
    pipeline = _describe(
        Pipeline,
        leave_out={"schema", "when", "parts", "part_of", "rows_of", "parent"},
        instead={
            "target": {"type": "string", "pattern": r"^[^.]+\.[^.]+$"},
            "columns": _list_of(_describe(Column, instead={"type": TYPE, "path": PATH}, optional={"path"})),
            "enrichments": _list_of({"oneOf": [_describe_enrichment(kind) for kind in OPTIONS]}),
            "file": _describe(
                FileFormat,
                names={"null_marker": "null", "part_size_bytes": "part_size", "split_bytes": "split_size"},
                instead={"part_size_bytes": SIZE, "split_bytes": SIZE},
            ),
            "load": _describe(
                LoadPolicy,
                names={"max_age_seconds": "max_age"},
                instead={"max_bytes": SIZE, "max_age_seconds": TIME},
            ),
            "redshift": redshift,
            "mirror": storage,
            "log": storage,
        },
        optional={"table", "columns"},  # a stream's ARN names the table as well, and targets have columns of their own
    )
    targets = "Several targets in place of `columns` and `outputs`: one for each kind of items, and child tables."
    pipeline["properties"]["targets"] = {**_list_of(_describe_target(pipeline["properties"])), "description": targets}
    config = _describe(
        Config,
        instead={"pipelines": {**_list_of(pipeline), "minItems": 1}},
        optional={"bucket", "ledger_table"},  # the environment may say them
    )
    config["properties"]["redshift"] = {**redshift, "description": "For all pipelines; a pipeline may say otherwise."}
    return {"$schema": DIALECT, "title": "fastetl.toml", **config}


def _describe_target(pipeline: Schema) -> Schema:
    """Describe one of several targets: what it takes, and settings that a pipeline with one target has itself."""
    instead = {"one_of": _list_of(SCALAR), "present": {"type": "boolean"}}
    condition = _describe(Condition, leave_out={"asks"}, instead=instead)
    condition["properties"]["equals"] = {
        **SCALAR, "description": "The attribute is this text, number or boolean.",
    }  # fmt: skip
    shared = ("target", "columns", "outputs", "deletes", "enrichments", "mirror", "log")
    rows_of = "Of a child table: where its parent's items have the list or map whose elements are its rows."
    return {
        "description": "One of several targets of a pipeline. An item is a row of the first whose conditions all hold.",
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "Of the target: letters, digits, - and _."},
            "when": {**_list_of(condition), "description": WHEN},
            "rows_of": {**PATH, "description": rows_of},
            "parent": {"type": "string", "description": "Of a child table: its parent, if not the target before it."},
            **{name: pipeline[name] for name in shared},
        },
        "required": ["name", "target", "columns"],
        "oneOf": [{"required": ["when"]}, {"required": ["rows_of"]}],
        "additionalProperties": False,
    }


def _describe_enrichment(kind: str) -> Schema:
    shared = _describe(Enrichment, leave_out={"options"}, instead={"outputs": _list_of(OUTPUT)})
    own = _describe(OPTIONS[kind])
    return {
        "title": kind,
        "description": own["description"],
        "type": "object",
        "properties": {"kind": {"const": kind}, **own["properties"], **shared["properties"]},
        "required": ["kind", *own["required"]],
        "additionalProperties": False,
    }


def _describe(
    struct: type[msgspec.Struct],
    *,
    names: dict[str, str] | None = None,
    instead: dict[str, Schema] | None = None,
    leave_out: set[str] | None = None,
    optional: set[str] | None = None,
) -> Schema:
    """Describe a table of the file by the Struct that it becomes.

    Args:
        struct: what it becomes.
        names: what the file calls a field, where that is another name.
        instead: what the file writes for a field, where that is another type.
        leave_out: fields that the file does not have.
        optional: fields that the file may leave out, although they have no default.
    """
    meanings, properties, required = read_meanings(struct), {}, []
    for field in msgspec.structs.fields(struct):
        if field.name in (leave_out or ()):
            continue
        name = (names or {}).get(field.name, field.name)
        schema = dict((instead or {}).get(field.name) or _schema_of(field.type))
        if meaning := meanings.get(field.name):
            schema["description"] = meaning
        default = field.default
        if isinstance(default, frozenset | tuple):
            default = sorted(default)
        if field.required:
            required += [name] * (field.name not in (optional or ()))
        elif isinstance(default, str | int | float | list):
            schema["default"] = default
        properties[name] = schema
    description = inspect.cleandoc(struct.__doc__ or "")
    return {
        "description": description, "type": "object", "properties": properties, "required": required,
        "additionalProperties": False,
    }  # fmt: skip


def _schema_of(kind: Any) -> Schema:
    """Give msgspec's schema of a field's type; sets are lists in TOML."""
    (schema,), _ = msgspec.json.schema_components([kind])
    return schema


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def read_meanings(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Read what stands below each field of a Struct in its source, as one line."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(struct))).body
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    found = {}
    for field, below in itertools.pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            found[field.target.id] = " ".join(below.value.value.split())
    return found
