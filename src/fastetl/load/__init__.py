"""The second story: files that wait on S3 are loaded into the warehouse, each exactly once."""

from __future__ import annotations

from fastetl.load.batches import list_members
from fastetl.load.epochs import Epochs
from fastetl.load.failures import classify, explain
from fastetl.load.former_columns import FormerColumns
from fastetl.load.loader import Loader
from fastetl.load.plan import Planner
from fastetl.load.rehearsal import (
    CHANGED_AT,
    Answer,
    BatchName,
    FileName,
    RehearsalStep,
    Rehearse,
    build_files,
    build_layouts,
    build_pipeline,
    folder_key,
    take_step,
)
from fastetl.load.rounds import Moved, Rounds
from fastetl.load.steps import Step
from fastetl.load.survey import Backlog
from fastetl.load.together import Standing, choose
from fastetl.load.waiting import forget, put_back
from fastetl.load.watch import Watch

__all__ = [
    "CHANGED_AT",
    "Answer",
    "Backlog",
    "BatchName",
    "Epochs",
    "FileName",
    "FormerColumns",
    "Loader",
    "Moved",
    "Planner",
    "RehearsalStep",
    "Rehearse",
    "Rounds",
    "Standing",
    "Step",
    "Watch",
    "build_files",
    "build_layouts",
    "build_pipeline",
    "choose",
    "classify",
    "explain",
    "folder_key",
    "forget",
    "list_members",
    "put_back",
    "take_step",
]
