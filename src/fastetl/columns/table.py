"""The table of Redshift's column types: one rule for each type that fastetl writes, all of which COPY reads from CSV.

Not in it: GEOMETRY, GEOGRAPHY and HLLSKETCH, which have no counterpart among DynamoDB's values, and INTERVAL, of which
the Amazon Redshift Database Developer Guide does not say that COPY reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastetl.columns import binaries, clock, documents, numbers, texts, times

if TYPE_CHECKING:
    from fastetl.columns.rule import Rule

RULES: dict[str, Rule] = {
    rule.kind: rule
    for rule in (*numbers.RULES, *texts.RULES, *binaries.RULES, *times.RULES, *clock.RULES, *documents.RULES)
}  # fmt: skip
"""Every rule, by the type's name in DDL."""

KINDS: dict[str, str] = {name: rule.kind for rule in RULES.values() for name in (rule.kind, *rule.synonyms)}
"""The type's own name, by the names that people write in DDL."""
