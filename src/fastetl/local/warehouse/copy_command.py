"""Read Redshift's COPY: its options pair up in ways that general SQL parsers read wrongly.

Known are the options that matter for CSV from S3 (Redshift Database Developer Guide, COPY). One that Redshift has and
that is not emulated is refused rather than passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import msgspec

from fastetl.identifiers import fold
from fastetl.local.warehouse.engine import SqlError, Table
from fastetl.local.warehouse.literals import resolve_escapes
from fastetl.local.warehouse.redshift_sql import parse_tables, strip_comments

MAX_MAXERROR = 100_000

_TOKEN = re.compile(r"""\s*(?:(?P<string>'(?:[^']|'')*')|(?P<name>"(?:[^"]|"")*")|(?P<word>[A-Za-z_][\w$]*)
                        |(?P<number>\d+)|(?P<mark>[(),.;]))""", re.VERBOSE)  # fmt: skip
_ESCAPE = re.compile(r"\\(t|\\|[0-7]{1,3})")


class CopyCommand(msgspec.Struct, frozen=True):
    """What one COPY asks for."""

    table: Table
    columns: tuple[str, ...]
    """The columns in the order of the fields; empty where they are the table's own."""
    url: str
    """`s3://…`, a manifest or a prefix of object names."""
    manifest: bool = False
    delimiter: str = ","
    quote: str = '"'
    null_marker: str = r"\N"
    compression: Literal["none", "gzip", "zstd"] = "none"
    max_error: int = 0
    ignore_header: int = 0
    """Lines to pass over at the start of each file."""


def is_copy(sql: str) -> bool:
    """Tell whether the statement is a COPY."""
    return bool(re.match(r"COPY\b", strip_comments(sql), re.IGNORECASE))


def parse_copy(sql: str) -> CopyCommand:
    """Read a COPY of CSV from S3.

    Raises:
        SqlError: it is not what Redshift takes, or uses an option that is not emulated.
    """
    tokens = _Tokens(resolve_escapes(strip_comments(sql)))
    tokens.expect("COPY")
    table, columns = _parse_target(tokens)
    tokens.expect("FROM")
    options: dict[str, object] = {"table": table, "columns": columns, "url": tokens.take("string")}
    if not str(options["url"]).startswith("s3://"):
        raise SqlError("COPY is emulated from S3 only: the source is to begin with s3://")
    seen: set[str] = set()
    while not tokens.at_end():
        option = tokens.take("word").upper()
        if option in seen:
            raise SqlError(f"conflicting or redundant options: {option}")
        seen.add(option)
        if option not in _OPTIONS:
            raise SqlError(f'syntax error at or near "{option}": COPY does not have it, or it is not emulated')
        options |= _OPTIONS[option](tokens)
    if not seen & {"IAM_ROLE", "CREDENTIALS"}:
        raise SqlError("COPY must have an IAM_ROLE or CREDENTIALS argument")
    if not seen & {"CSV", "FORMAT"}:
        raise SqlError("COPY is emulated for FORMAT AS CSV only")
    return msgspec.convert(options, CopyCommand)


class _Tokens:
    """A COPY's tokens with a place to read on from."""

    def __init__(self, sql: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        end, at = len(sql.rstrip().rstrip(";")), 0
        while at < end:
            match = _TOKEN.match(sql, at, end)
            if match is None:
                raise SqlError(f'syntax error at or near "{sql[at : at + 20].strip()}"')
            self._tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            at = match.end()
        self._tokens.reverse()

    def at_end(self) -> bool:
        return not self._tokens

    def skip(self, text: str) -> bool:
        """Skip this word or mark if it comes next."""
        if self._tokens and self._tokens[-1][1].upper() == text and self._tokens[-1][0] != "string":
            self._tokens.pop()
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.skip(text):
            raise SqlError(f'syntax error at or near "{self._next()}": {text} is expected')

    def take(self, *kinds: str) -> str:
        """Take the next token, which must be of one of these kinds, without its quotes."""
        if not self._tokens or self._tokens[-1][0] not in kinds:
            raise SqlError(f'syntax error at or near "{self._next()}": a {" or ".join(kinds)} is expected')
        kind, text = self._tokens.pop()
        if kind == "string":
            return text[1:-1].replace("''", "'")
        return fold(text[1:-1].replace('""', '"')) if kind == "name" else text

    def _next(self) -> str:
        return self._tokens[-1][1] if self._tokens else "end of input"


def _parse_target(tokens: _Tokens) -> tuple[Table, tuple[str, ...]]:
    parts = [fold(tokens.take("word", "name"))]
    while tokens.skip("."):
        parts.append(fold(tokens.take("word", "name")))
    (table,) = parse_tables(".".join('"' + part.replace('"', '""') + '"' for part in parts))
    columns: list[str] = []
    if tokens.skip("("):
        columns.append(fold(tokens.take("word", "name")))
        while tokens.skip(","):
            columns.append(fold(tokens.take("word", "name")))
        tokens.expect(")")
    return table, tuple(columns)


def _parse_text(tokens: _Tokens) -> str:
    r"""Read an option's value, with or without `AS` before it, with COPY's escapes: `\t`, `\\`, and `\ddd` in octal."""
    tokens.skip("AS")
    known = {"t": "\t", "\\": "\\"}
    return _ESCAPE.sub(lambda match: known.get(match[1]) or chr(int(match[1], 8)), tokens.take("string"))


def _parse_character(field: str) -> Callable[[_Tokens], dict[str, object]]:
    def parse(tokens: _Tokens) -> dict[str, object]:
        text = _parse_text(tokens)
        if len(text) != 1 or not text.isascii() or text in "\r\n\0":
            raise SqlError(f"COPY {field} must be a single ASCII character")
        return {field: text}

    return parse


def _parse_count(field: str, most: int) -> Callable[[_Tokens], dict[str, object]]:
    def parse(tokens: _Tokens) -> dict[str, object]:
        tokens.skip("AS")
        count = int(tokens.take("number"))
        if count > most:
            raise SqlError(f"{field.replace('_', '').upper()} must be between 0 and {most}")
        return {field: count}

    return parse


def _parse_csv(tokens: _Tokens) -> dict[str, object]:
    return _parse_character("quote")(tokens) if tokens.skip("QUOTE") else {}


def _parse_format(tokens: _Tokens) -> dict[str, object]:
    tokens.skip("AS")
    if not tokens.skip("CSV"):
        raise SqlError("COPY is emulated for FORMAT AS CSV only")
    return _parse_csv(tokens)


def _parse_automatic(tokens: _Tokens) -> dict[str, object]:
    tokens.skip("AS")
    if tokens.take("string").lower() != "auto":
        raise SqlError("TIMEFORMAT and DATEFORMAT are emulated for 'auto' only")
    return {}


def _parse_switch(tokens: _Tokens) -> dict[str, object]:
    # Statistics and encodings, which the engines have no use for.
    if not any(tokens.skip(word) for word in ("ON", "OFF", "PRESET", "TRUE", "FALSE")):
        raise SqlError("ON or OFF is expected")
    return {}


def _parse_role(tokens: _Tokens) -> dict[str, object]:
    if not tokens.skip("DEFAULT"):
        tokens.take("string")
    return {}


def _parse_ignored_text(tokens: _Tokens) -> dict[str, object]:
    _parse_text(tokens)
    return {}


_OPTIONS: dict[str, Callable[[_Tokens], dict[str, object]]] = {
    "IAM_ROLE": _parse_role,
    "CREDENTIALS": _parse_ignored_text,
    "REGION": _parse_ignored_text,
    "MANIFEST": lambda _: {"manifest": True},
    "FORMAT": _parse_format,
    "CSV": _parse_csv,
    "DELIMITER": _parse_character("delimiter"),
    "GZIP": lambda _: {"compression": "gzip"},
    "ZSTD": lambda _: {"compression": "zstd"},
    "NULL": lambda tokens: {"null_marker": _parse_text(tokens)},
    "TIMEFORMAT": _parse_automatic,
    "DATEFORMAT": _parse_automatic,
    "COMPUPDATE": _parse_switch,
    "STATUPDATE": _parse_switch,
    "MAXERROR": _parse_count("max_error", MAX_MAXERROR),
    "IGNOREHEADER": _parse_count("ignore_header", 2**31 - 1),
}
