"""A module whose import fails, as with a missing environment variable."""

from __future__ import annotations

raise RuntimeError("BUCKET is not set")
