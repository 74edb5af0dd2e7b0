"""Enrichment: columns are added, masked or computed, and rows filtered, in the configured order."""

from __future__ import annotations

from fastetl.enrich.enricher import Enriched, Enricher, RejectedRow
from fastetl.enrich.routing import Router, make_enricher

__all__ = [
    "Enriched",
    "Enricher",
    "RejectedRow",
    "Router",
    "make_enricher",
]
