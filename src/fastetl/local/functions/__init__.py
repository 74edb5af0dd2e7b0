"""Lambda on one machine: the runtime API, function environments, and event source mappings."""

from __future__ import annotations

from fastetl.local.functions.event_source import EventSource
from fastetl.local.functions.failure_destination import FailureDestination
from fastetl.local.functions.function_settings import FunctionSettings
from fastetl.local.functions.kinesis_destination import KinesisDestination
from fastetl.local.functions.kinesis_records import build_kinesis_event
from fastetl.local.functions.lambda_runtime import Function, InvokeResult
from fastetl.local.functions.mapping import MappingSettings
from fastetl.local.functions.readers import KinesisStream, TableStream

__all__ = [
    "EventSource",
    "FailureDestination",
    "Function",
    "FunctionSettings",
    "InvokeResult",
    "KinesisDestination",
    "KinesisStream",
    "MappingSettings",
    "TableStream",
    "build_kinesis_event",
]
