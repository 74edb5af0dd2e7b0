"""Note in a watermark which files wait that it took for loaded, for rejects, or for files in quarantine. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fastetl.load.complete import CREATION_SLACK_MS, WAIT, is_held, read_moment
from fastetl.load.listing import LIST_MS
from fastetl.model import FileItem, PutBack, Watermark

MOST_PUT_BACK = 1_000
"""Files whose names a watermark keeps, 50 bytes each: an item of DynamoDB has 400 KB at most (DynamoDB Developer Guide,
"Quotas")."""


def put_back(known: Watermark, files: Iterable[FileItem], now_ms: int) -> Watermark:
    """Note that an operator has put files back, which were loaded, rejected, in quarantine, or in no ledger.

    Args:
        known: the watermark of the latest look.
        files: that wait now, or are about to.
        now_ms: Unix milliseconds.

    Returns:
        The watermark to write before anybody may take them for what they were, or together with it.
    """
    more = tuple(PutBack(file.file_id, read_moment(file.changed_min) - CREATION_SLACK_MS) for file in files)
    every = tuple({file.file_id: file for file in (*known.put_back, *more)}.values())
    if len(every) > MOST_PUT_BACK:
        return forget(known, now_ms)
    following = msgspec.structs.replace(known, put_back=every)
    return msgspec.structs.replace(following, held_by=WAIT) if is_held(following) else following


def forget(known: Watermark, now_ms: int) -> Watermark:
    """Give a watermark that is not known until every file is loaded that an operator puts back from now on.

    Args:
        known: the watermark of the latest look.
        now_ms: Unix milliseconds; it is to be called again where putting back takes longer than `LIST_MS`.
    """
    return msgspec.structs.replace(
        known, proved_up_to=0, put_back=(), held_by="a ledger that was rebuilt", unknown_until=now_ms + LIST_MS
    )
