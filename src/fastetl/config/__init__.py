"""The configuration: what `fastetl.toml` may say, as typed values, and how it is read."""

from __future__ import annotations

from fastetl.config.enrichments import Expression, Filter, Function, GeoIp, Lookup, Mask, Options
from fastetl.config.json_schema import build_schema
from fastetl.config.model import (
    ALL,
    Config,
    Enrichment,
    FileFormat,
    Grantee,
    LoadPolicy,
    Output,
    Pipeline,
    RedshiftTarget,
)
from fastetl.config.naming import MAX_COLUMNS, find_storage_warnings
from fastetl.config.reading import ENVIRONMENT, parse_config, parse_usable_config
from fastetl.config.reading_policies import parse_seconds
from fastetl.config.storage import NOT_LENGTHENED, Storage
from fastetl.config.toml_tables import quote_toml

__all__ = [
    "ALL",
    "ENVIRONMENT",
    "MAX_COLUMNS",
    "NOT_LENGTHENED",
    "Config",
    "Enrichment",
    "Expression",
    "FileFormat",
    "Filter",
    "Function",
    "GeoIp",
    "Grantee",
    "LoadPolicy",
    "Lookup",
    "Mask",
    "Options",
    "Output",
    "Pipeline",
    "RedshiftTarget",
    "Storage",
    "build_schema",
    "find_storage_warnings",
    "parse_config",
    "parse_seconds",
    "parse_usable_config",
    "quote_toml",
]
