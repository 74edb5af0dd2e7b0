"""Public designs of tables that hold several kinds of items, rebuilt from their documents with made-up items."""

from __future__ import annotations

from examples.single_table.designs import DESIGNS, Design

__all__ = ["DESIGNS", "Design"]
