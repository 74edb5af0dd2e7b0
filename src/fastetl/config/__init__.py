"""The configuration: what `fastetl.toml` may say, as typed values, and how it is read."""

from __future__ import annotations

from fastetl.config.conditions import Condition, name_asked, name_question
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
from fastetl.config.naming import (
    CHILD_STATEMENTS,
    LOAD_STATEMENTS,
    MAX_COLUMNS,
    OUTPUT_STATEMENTS,
    count_statements,
    find_storage_warnings,
)
from fastetl.config.reading import ENVIRONMENT, parse_config, parse_usable_config
from fastetl.config.reading_policies import parse_seconds
from fastetl.config.storage import NOT_LENGTHENED, Storage
from fastetl.config.targets import ELEMENT_COLUMNS, REST, SCALAR, locate_columns, name_list
from fastetl.config.toml_tables import quote_toml

__all__ = [
    "ALL",
    "CHILD_STATEMENTS",
    "ELEMENT_COLUMNS",
    "ENVIRONMENT",
    "LOAD_STATEMENTS",
    "MAX_COLUMNS",
    "NOT_LENGTHENED",
    "OUTPUT_STATEMENTS",
    "REST",
    "SCALAR",
    "Condition",
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
    "count_statements",
    "find_storage_warnings",
    "locate_columns",
    "name_asked",
    "name_list",
    "name_question",
    "parse_config",
    "parse_seconds",
    "parse_usable_config",
    "quote_toml",
]
