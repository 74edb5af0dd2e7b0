"""The edges: the only modules that call AWS."""

from __future__ import annotations

from fastetl.aws.alarm import Alarm
from fastetl.aws.calls import gather, is_transient
from fastetl.aws.client_token import Token
from fastetl.aws.clients import open_clients
from fastetl.aws.deployment import Deployment, build_deployment
from fastetl.aws.function import Function
from fastetl.aws.function_log import FunctionLog
from fastetl.aws.ledger import TABLE_SCHEMA, Ledger
from fastetl.aws.redshift import Run, Warehouse
from fastetl.aws.references import References, find_local
from fastetl.aws.s3 import Bucket
from fastetl.aws.source import Described, Item, SourceTable
from fastetl.aws.stack import Stack
from fastetl.aws.state_machine import StateMachine
from fastetl.aws.stored_object import StoredObject
from fastetl.aws.stream import Mapping, Shard, Stream, StreamWatch
from fastetl.aws.upload import ABORT_LIMIT_SECONDS

__all__ = [
    "ABORT_LIMIT_SECONDS",
    "TABLE_SCHEMA",
    "Alarm",
    "Bucket",
    "Deployment",
    "Described",
    "Function",
    "FunctionLog",
    "Item",
    "Ledger",
    "Mapping",
    "References",
    "Run",
    "Shard",
    "SourceTable",
    "Stack",
    "StateMachine",
    "StoredObject",
    "Stream",
    "StreamWatch",
    "Token",
    "Warehouse",
    "build_deployment",
    "find_local",
    "gather",
    "is_transient",
    "open_clients",
]
