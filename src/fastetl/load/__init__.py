"""The second story: files that wait on S3 are loaded into the warehouse, each exactly once."""

from __future__ import annotations

from fastetl.load.former_columns import FormerColumns
from fastetl.load.loader import Loader
from fastetl.load.plan import Planner
from fastetl.load.rounds import Moved, Rounds
from fastetl.load.steps import Step
from fastetl.load.survey import Backlog
from fastetl.load.together import Standing, choose

__all__ = [
    "Backlog",
    "FormerColumns",
    "Loader",
    "Moved",
    "Planner",
    "Rounds",
    "Standing",
    "Step",
    "choose",
]
