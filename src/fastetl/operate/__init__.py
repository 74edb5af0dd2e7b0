"""What operators do: look, compare, replay, reload, change the schema, and try out an account."""

from __future__ import annotations

from fastetl.operate.account_experiments import Verifier
from fastetl.operate.catalog import Catalog
from fastetl.operate.kinds import Kinds, find_kinds
from fastetl.operate.operator import Operator
from fastetl.operate.preflight import Finding, Preflight
from fastetl.operate.propose import Proposal, propose_columns, propose_sortkey
from fastetl.operate.questions import Verdict
from fastetl.operate.rebuild import rebuild_ledger
from fastetl.operate.reconcile import Reconciler
from fastetl.operate.rehearsal import Rehearsal
from fastetl.operate.reload import Reloaded, Reloader
from fastetl.operate.replay import replay_failures, replay_rejects
from fastetl.operate.schema import SchemaDiff, SchemaReader
from fastetl.operate.schema_writer import Applied, SchemaWriter
from fastetl.operate.status import OpenBatch, Status
from fastetl.operate.target_proposals import choose_most_seen, propose_targets
from fastetl.operate.verify import READ_UNITS_OF_A_DOLLAR, RowComparer, Verified

__all__ = [
    "READ_UNITS_OF_A_DOLLAR",
    "Applied",
    "Catalog",
    "Finding",
    "Kinds",
    "OpenBatch",
    "Operator",
    "Preflight",
    "Proposal",
    "Reconciler",
    "Rehearsal",
    "Reloaded",
    "Reloader",
    "RowComparer",
    "SchemaDiff",
    "SchemaReader",
    "SchemaWriter",
    "Status",
    "Verdict",
    "Verified",
    "Verifier",
    "choose_most_seen",
    "find_kinds",
    "propose_columns",
    "propose_sortkey",
    "propose_targets",
    "rebuild_ledger",
    "replay_failures",
    "replay_rejects",
]
