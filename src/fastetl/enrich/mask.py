"""Replace values that must not leave the function in clear by a keyed digest, cut them, or drop them.

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

    from fastetl.config import Mask

MIN_KEY_BYTES = 16


def build_mask(options: Mask, environ: Mapping[str, str]) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Build the function that masks every column of a frame.

    Args:
        options: how.
        environ: where the key is found that the options name.

    Raises:
        EnrichmentError: the key is missing or short.
    """
    match options.method:
        case "hash":
            key = environ.get(options.key_variable, "").encode()
            if len(key) < MIN_KEY_BYTES:
                raise EnrichmentError(
                    f"the environment variable {options.key_variable} must hold a key of {MIN_KEY_BYTES} bytes or more"
                )
            return lambda frame: frame.select(_digest(frame[name], key) for name in frame.columns)
        case "truncate":
            return lambda frame: frame.select(
                pl.col(name).cast(pl.String).str.head(options.characters) for name in frame.columns
            )
        case "drop":
            return lambda frame: frame.with_columns(pl.lit(None).alias(name) for name in frame.columns)


def _digest(values: pl.Series, key: bytes) -> pl.Series:
    texts = values.cast(pl.String)
    clear = texts.unique().drop_nulls().to_list()
    masked = [hmac.new(key, text.encode(), hashlib.sha256).hexdigest() for text in clear]
    return texts.replace_strict(clear, masked, default=None, return_dtype=pl.String).alias(values.name)
