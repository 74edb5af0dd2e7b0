"""An enrichment that a user writes: a function from frame to frame, named in orders.toml.

It gets the columns in `inputs`, as numbers, times and texts, and gives a frame with the columns in `outputs`, a row for
each row, in their order. It has to be row-wise: what a row gets depends on its own inputs alone, since a batch on which
the function fails is given to it again in parts. A deleted item's columns are NULL.
"""

import polars as pl


def add_weekday(frame: pl.DataFrame) -> pl.DataFrame:
    """Add the day of the week on which an order was paid: its English name."""
    return frame.select(pl.col("paid_at").dt.strftime("%A").alias("paid_weekday"))
