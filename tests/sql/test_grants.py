"""Who may read what a pipeline creates."""

from __future__ import annotations

import re

import pytest

from fastetl.config.model import RedshiftTarget
from fastetl.sql.tables import ddl_sql
from tests.sql.test_sql import make_pipeline


@pytest.mark.parametrize(
    ("outputs", "deletes", "readable"),
    [
        ({"mirror"}, "forget", {"flights_current"}),
        ({"log"}, "forget", {"flights_log", "flights_history"}),
        ({"mirror", "log"}, "forget", {"flights_current", "flights_log", "flights_history"}),
        ({"mirror"}, "keep", {"flights_current", "flights_all"}),
    ],
)
def test_readers_may_read_views_and_log_and_nothing_else(outputs: set[str], deletes: str, readable: set[str]) -> None:
    readers = ("analysts", 'a "b"')
    pipeline = make_pipeline(outputs=frozenset(outputs), deletes=deletes, redshift=RedshiftTarget(grant_to=readers))
    statements = ddl_sql(pipeline)
    granted = [statement.sql for statement in statements if statement.step == "grant"]
    assert sorted(granted) == sorted(
        f'GRANT SELECT ON "public"."{name}" TO "{reader}"' for name in readable for reader in ("analysts", 'a ""b""')
    )
    # What is granted is there by then.
    created = " ".join(statement.sql for statement in statements if statement.step != "grant")
    assert all(re.search(rf'CREATE (?:TABLE IF NOT EXISTS|VIEW) "public"\."{name}"', created) for name in readable)
    assert statements[-1].step == "grant"
    none = make_pipeline(outputs=frozenset(outputs), deletes=deletes, redshift=RedshiftTarget())
    assert not [statement for statement in ddl_sql(none) if "GRANT" in statement.sql]
