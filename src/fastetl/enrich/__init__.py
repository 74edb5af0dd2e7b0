"""Enrichment: columns are added, masked or computed, and rows filtered, in the configured order."""

from __future__ import annotations

from fastetl.enrich.enricher import Enriched, Enricher, RejectedRow

__all__ = [
    "Enriched",
    "Enricher",
    "RejectedRow",
]
