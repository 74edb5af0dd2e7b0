"""Masking: values that must not leave the function in clear are replaced by a keyed digest, cut short or dropped.

The digest is HMAC-SHA256 in hex, so that equal values stay equal and nobody without the key can try values out. Two
places still hold what was masked: rejects (raw records, in their own S3 prefix) and DynamoDB itself.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import polars as pl

from fastetl.errors import EnrichmentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fastetl.config import Enrichment

MIN_KEY_BYTES = 16


def build_mask(enrichment: Enrichment, environ: Mapping[str, str]) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Build the function that masks every output in place.

    Options: `method` is `hash` (with `key_variable`, the environment variable that holds the key), `truncate` (with
    `characters`, how many are kept), or `drop`.

    Raises:
        EnrichmentError: an option is missing or unknown.
    """
    options = dict(enrichment.options)
    match options.get("method"):
        case "hash":
            key = environ.get(str(options.get("key_variable")), "").encode()
            if len(key) < MIN_KEY_BYTES:
                raise EnrichmentError(
                    f"`key_variable` must name an environment variable of {MIN_KEY_BYTES} bytes or more"
                )
            return lambda frame: frame.select(_digest(frame[name], key) for name in frame.columns)
        case "truncate":
            characters = options.get("characters")
            if not isinstance(characters, int) or characters < 0:
                raise EnrichmentError("`characters` says how many are kept")
            return lambda frame: frame.select(
                pl.col(name).cast(pl.String).str.head(characters) for name in frame.columns
            )
        case "drop":
            return lambda frame: frame.with_columns(pl.lit(None).alias(name) for name in frame.columns)
    raise EnrichmentError("`method` is hash, truncate or drop")


def _digest(values: pl.Series, key: bytes) -> pl.Series:
    texts = values.cast(pl.String)
    clear = texts.unique().drop_nulls().to_list()
    masked = [hmac.new(key, text.encode(), hashlib.sha256).hexdigest() for text in clear]
    return texts.replace_strict(clear, masked, default=None, return_dtype=pl.String).alias(values.name)
