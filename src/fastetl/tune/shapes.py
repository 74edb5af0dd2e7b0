"""Describe made-up tables to measure with: `fastetl tune --shape flat`."""

from __future__ import annotations

SHAPES = {
    "flat": """
columns = [
  { name = "id", type = "VARCHAR(36)" },           { name = "customer", type = "BIGINT" },
  { name = "status", type = "VARCHAR(16)" },       { name = "channel", type = "VARCHAR(16)" },
  { name = "amount", type = "DECIMAL(18,2)" },     { name = "tax", type = "DECIMAL(18,2)" },
  { name = "quantity", type = "INTEGER" },         { name = "priority", type = "SMALLINT" },
  { name = "paid", type = "BOOLEAN" },             { name = "gift", type = "BOOLEAN" },
  { name = "created_at", type = "TIMESTAMP" },     { name = "city", type = "VARCHAR(64)" },
  { name = "street", type = "VARCHAR(128)" },      { name = "email", type = "VARCHAR(128)" },
  { name = "note", type = "VARCHAR(512)" },        { name = "reference", type = "DECIMAL(38,0)" },
]
""",
    "nested": """
columns = [
  { name = "id", type = "VARCHAR(36)" },           { name = "amount", type = "DECIMAL(18,2)" },
  { name = "created_at", type = "TIMESTAMP" },     { name = "lines", type = "SUPER" },
  { name = "address", type = "SUPER" },            { name = "history", type = "SUPER" },
  { name = "city", path = "customer.address.city", type = "VARCHAR(64)" },
  { name = "name", path = "customer.name", type = "VARCHAR(128)" },
]
""",
    "tiny": """
columns = [
  { name = "id", type = "VARCHAR(36)" },           { name = "seen", type = "TIMESTAMP", time_format = "epoch_ms" },
  { name = "value", type = "DOUBLE PRECISION" },
]
""",
}
"""Columns, by what the items look like: 16 attributes with a column each; documents; three attributes."""


def write_shape(name: str) -> str:
    """Write the configuration of a pipeline that carries items of a shape.

    Args:
        name: `flat`, `nested` or `tiny`.
    """
    head = f'[[pipelines]]\nname = "{name}"\ntable = "{name}"\nkeys = ["id"]\ntarget = "public.{name}"'
    return head + SHAPES[name]
