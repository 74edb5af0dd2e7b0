"""Who may read what a pipeline creates."""

from __future__ import annotations

import re

import pytest

from fastetl.config.model import Grantee, RedshiftTarget
from fastetl.sql import ddl_sql, read_grants_sql
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
    readers = (Grantee("user", 'a "b"'), Grantee("role", "analysts"))
    pipeline = make_pipeline(outputs=frozenset(outputs), deletes=deletes, redshift=RedshiftTarget(grant_to=readers))
    granted = [each.sql.partition("\n")[2] for each in read_grants_sql(pipeline) if "GRANT SELECT" in each.sql]
    assert sorted(granted) == sorted(
        f'GRANT SELECT ON "public"."{name}" TO {reader}'
        for name in (*readable, "flights_complete")
        for reader in ('"a ""b"""', 'ROLE "analysts"')
    )
    created = " ".join(statement.sql for statement in ddl_sql(pipeline))
    assert all(re.search(rf'(?:TABLE IF NOT EXISTS|VIEW) "public"\."{name}"', created) for name in readable)
    none = make_pipeline(outputs=frozenset(outputs), deletes=deletes, redshift=RedshiftTarget())
    assert read_grants_sql(none) == ()
