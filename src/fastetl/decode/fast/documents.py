"""DynamoDB's documents as the JSON that SUPER takes, all at once. Pure.

`{"M":{"a":{"S":"x"},"b":{"N":"1"}}}` becomes `{"a":"x","b":1}` by leaving text out. That may be done blindly, since the
signs that are left out stand nowhere else: JSON escapes a quote inside a text. Documents of which this cannot be known
(escapes, braces in texts, sets inside, binary values, numbers that are not plain) are set apart.
"""

from __future__ import annotations

import polars as pl

from fastetl.limits import MAX_VARCHAR_BYTES

ABSENT = "null"
"""Stands for a document that an item does not have."""

_NUMBER = r"(?:0|-?[1-9][0-9]{0,36}|-?(?:0|[1-9][0-9]{0,17})\.[0-9]{0,17}[1-9])"
_TEXT = r'"[^"\\{}\[\]]*"'
_REGULAR = (
    rf'\A(?:\{{"(?:S":{_TEXT}\}}|N":"{_NUMBER}"\}}|BOOL":(?:true|false)\}}|NULL":true\}}|M":\{{|L":\[)'
    rf"|[\]}}]\}}|{_TEXT}:|,)+\z"
)
"""What is JSON and consists of these parts is a document, and each part means what it looks like."""
_TEXT_SET = r'\A\{"SS":\["[^"\\]*"(?:,"[^"\\]*")*\]\}\z'
_NOTHING = pl.Series(values=[None], dtype=pl.String)
_LEFT_OUT = {
    '{"S":"': '"',
    '"}': '"',
    '{"BOOL":true}': "true",
    '{"BOOL":false}': "false",
    '{"NULL":true}': "null",
    '{"M":{': "{",
    "}}": "}",
    '{"L":[': "[",
    "]}": "]",
}


def write_documents(documents: pl.Series) -> pl.Series:
    """Give the JSON of DynamoDB's JSON texts; null for each that has to be read for itself."""
    is_map = _is_regular(documents)
    written = _leave_out(documents.zip_with(is_map, _NOTHING))
    if (is_map | (documents == ABSENT)).all():
        return written
    is_set = documents.str.contains(_TEXT_SET) & (documents.str.len_bytes() <= MAX_VARCHAR_BYTES)
    return written.zip_with(~is_set, _write_sets(documents.zip_with(is_set, _NOTHING)))


def _is_regular(documents: pl.Series) -> pl.Series:
    fits = documents.str.contains(_REGULAR)
    # Texts inside SUPER are as long as a VARCHAR at most.
    large = (documents.str.len_bytes() > MAX_VARCHAR_BYTES).arg_true()
    if not len(large):
        return fits
    longest = documents.gather(large).str.split('"').list.eval(pl.element().str.len_bytes()).list.max()
    return fits.scatter(large, fits.gather(large) & (longest <= MAX_VARCHAR_BYTES))


def _leave_out(documents: pl.Series) -> pl.Series:
    # A number loses its closing quote as well: the first one after where it begins.
    closed = '"}'
    numbers = (closed + documents).str.split('{"N":"')
    plain = numbers.list.eval(pl.element().str.replace(closed, "", literal=True)).list.join("")
    return plain.str.replace_many(_LEFT_OUT)


def _write_sets(sets: pl.Series) -> pl.Series:
    """DynamoDB gives a set's elements in any order; sorted, the same set is the same text."""
    elements = sets.str.strip_prefix('{"SS":["').str.strip_suffix('"]}').str.split('","').list.sort()
    return '["' + elements.list.join('","') + '"]'
