"""The second story: files that wait on S3 are loaded into the warehouse, each exactly once."""

from __future__ import annotations

from fastetl.load.former_columns import FormerColumns
from fastetl.load.loader import Backlog, Loader
from fastetl.load.plan import Planner
from fastetl.load.steps import Step

__all__ = [
    "Backlog",
    "FormerColumns",
    "Loader",
    "Planner",
    "Step",
]
