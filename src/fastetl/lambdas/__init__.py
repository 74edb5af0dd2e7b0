"""The functions' roots, and what must be settled before anything else is imported."""

from __future__ import annotations

import os

MEMORY_MB_PER_CPU = 1_769
"""The memory at which a function has one processor (AWS Lambda Developer Guide, "Configure Lambda function memory")."""

# Polars starts a thread for each processor that it sees, and Lambda shows two or more however small the share of them.
_memory_mb = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE") or MEMORY_MB_PER_CPU)
os.environ.setdefault("POLARS_MAX_THREADS", str(max(1, _memory_mb // MEMORY_MB_PER_CPU)))
