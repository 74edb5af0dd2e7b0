r"""The JSON of many attribute values as their texts, all at once. Pure.

`{"S":"one"}`, `{"S":"two"}`, ... joined by line feeds are one text; cut at `"}\n{"S":"`, it is the values themselves.
So no value becomes an object of its own, and Polars cuts at the speed of memory. What is spelled otherwise is left.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from fastetl.columns import DOCUMENT, Texts
from fastetl.decode.fast.documents import ABSENT, write_documents

if TYPE_CHECKING:
    from collections.abc import Sequence


_NOTHING = "\0"
"""Stands where there is no value: inside JSON it could only be escaped."""
_NULL = b'{"NULL":true}'
_NUL = r"\u0000"
_ESCAPES = {r"\"": '"', r"\\": "\\", r"\/": "/", r"\b": "\b", r"\f": "\f", r"\n": "\n", r"\r": "\r", r"\t": "\t"}
_SIMPLY_ESCAPED = r'\A(?:[^"\\]|\\["\\/bfnrt])*\z'
_STRINGS = msgspec.json.Decoder(list[str])


class Spelling:
    """How DynamoDB writes the values of one type (DynamoDB API, `AttributeValue`)."""

    def __init__(self, tag: str, quote: str, content: str) -> None:
        prefix, suffix = f'{{"{tag}":{quote}', f"{quote}}}"
        self.prefix, self.suffix = prefix.encode(), suffix.encode()
        self.separator = f"{suffix}\n{prefix}"
        self.is_quoted = bool(quote)
        self.quotes = (prefix + suffix).count('"')
        self.absent = msgspec.Raw(f"{prefix}{_NOTHING}{suffix}")
        self.regular = rf'\A\{{"{tag}":{quote}(?:{content}|\x00){quote}\}}\z'
        """A pattern for Polars, whose engine has no look-ahead and is several times as fast as `re`."""


_CONTENT = r'(?:[^"\\]|\\.)*'
SPELLINGS = {
    "S": Spelling("S", '"', _CONTENT),
    "N": Spelling("N", '"', _CONTENT),
    "B": Spelling("B", '"', _CONTENT),
    "BOOL": Spelling("BOOL", "", "true|false"),
}


def read_texts(columns: Sequence[tuple[str, Sequence[bytes]]], rows: int) -> list[Texts]:
    """Read columns of `rows` values: the type that each should have, and their JSON, in pieces joined by line feeds."""
    found: dict[int, Texts] = {}
    by_tag: defaultdict[str, list[int]] = defaultdict(list)
    for number, (tag, pieces) in enumerate(columns):
        if tag in SPELLINGS:
            by_tag[tag].append(number)
        else:
            found[number] = _read_documents(tag, b"\n".join(pieces), rows)
    for tag, numbers in by_tag.items():
        # Each operation has its price: what is of one type is cut together, as long as nothing is odd.
        all_pieces = [piece for number in numbers for piece in columns[number][1]]
        together = _cut(SPELLINGS[tag], all_pieces, rows * len(numbers))
        for place, number in enumerate(numbers):
            contents = together.slice(place * rows, rows) if together is not None else None
            found[number] = _read_column(tag, columns[number][1], rows, contents)
    return [found[number] for number in range(len(columns))]


def guess_tag(pieces: Sequence[bytes]) -> str:
    """Tell which type a key attribute has, from its first value; a table's key has one for all."""
    return next((tag for tag in ("S", "N", "B") if pieces[0].startswith(SPELLINGS[tag].prefix)), "S")


def _read_column(tag: str, pieces: Sequence[bytes], rows: int, contents: pl.Series | None) -> Texts:
    spelling = SPELLINGS[tag]
    if contents is None:
        contents = _cut(spelling, pieces, rows)
    if contents is not None and (texts := _read_contents(spelling, pieces, contents)) is not None:
        return Texts(tag, texts)
    lines = _split(b"\n".join(pieces).replace(_NULL, bytes(spelling.absent)), "\n")
    if len(lines) == rows:
        is_odd = ~lines.str.contains(spelling.regular) | lines.str.contains(_NUL, literal=True)
        places = is_odd.arg_true().to_list()
        odd = dict(zip(places, lines.gather(places).to_list(), strict=True))
        absent = pl.Series(values=[bytes(spelling.absent).decode()], dtype=pl.String)
        pieces = ["\n".join(lines.zip_with(~is_odd, absent).to_list()).encode()]
        contents = _cut(spelling, pieces, rows)
        if contents is not None and (texts := _read_contents(spelling, pieces, contents)) is not None:
            return Texts(tag, texts, odd)
    return _unknown(tag, rows)


def _read_documents(tag: str, joined: bytes, rows: int) -> Texts:
    documents = _split(joined, "\n")
    if len(documents) != rows:
        return _unknown(tag, rows)
    texts = write_documents(documents) if tag == DOCUMENT else pl.Series(values=[None] * rows, dtype=pl.String)
    places = ((documents != ABSENT) & texts.is_null()).arg_true().to_list()
    return Texts(tag, texts, dict(zip(places, documents.gather(places).to_list(), strict=True)))


def _unknown(tag: str, rows: int) -> Texts:
    """Where text is no UTF-8, or has white space between: what is odd cannot be told from the rest."""
    return Texts(tag, pl.Series(values=[None] * rows, dtype=pl.String), dict.fromkeys(range(rows), ""))


def _cut(spelling: Spelling, pieces: Sequence[bytes], count: int) -> pl.Series | None:
    """Give what stands between prefix and suffix of so many values, if every one begins and ends like that."""
    joined = b"\n".join([spelling.suffix, *pieces, spelling.prefix]).replace(_NULL, bytes(spelling.absent))
    # JSON has no line feed inside a string: if there are as many parts as values, they are the values.
    contents = _split(joined, spelling.separator)
    if len(contents) != count + 2:
        return None
    contents = contents.slice(1, count)
    is_present = contents != _NOTHING
    return contents if is_present.all() else contents.zip_with(is_present, pl.Series(values=[None], dtype=pl.String))


def _read_contents(spelling: Spelling, pieces: Sequence[bytes], contents: pl.Series) -> pl.Series | None:
    """Give the texts, if every value has this type alone; None where one holds more, or NUL, which no column takes."""
    if not spelling.is_quoted:
        return contents if ((contents == "true") | (contents == "false")).all() else None
    if any(b"\\" in piece for piece in pieces):
        is_escaped = contents.str.contains_any(["\\", '"'])
        unescaped = _unescape(contents.filter(is_escaped))
        return contents.scatter(is_escaped.arg_true(), unescaped) if unescaped is not None else None
    quotes = sum(piece.count(b'"') for piece in pieces)
    nulls = sum(piece.count(_NULL) for piece in pieces) if contents.null_count() else 0
    return contents if quotes == spelling.quotes * (len(contents) - nulls) + _NULL.count(b'"') * nulls else None


def _unescape(escaped: pl.Series) -> pl.Series | None:
    if escaped.str.contains(_SIMPLY_ESCAPED).all():
        return escaped.str.replace_many(_ESCAPES)
    joined = '","'.join(escaped.to_list())
    try:
        unescaped = _STRINGS.decode(f'["{joined}"]')
    except msgspec.DecodeError:
        return None
    if len(unescaped) != len(escaped) or _NUL in joined:
        return None
    return pl.Series(values=unescaped, dtype=pl.String)


def _split(text: bytes, separator: str) -> pl.Series:
    """Cut a text at a separator; nothing where it is no UTF-8."""
    try:
        whole = pl.Series(values=[text], dtype=pl.Binary).cast(pl.String)
    except pl.exceptions.ComputeError:
        return pl.Series(dtype=pl.String)
    return whole.str.split(separator).explode()
