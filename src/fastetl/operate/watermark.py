"""Tell a pipeline's watermark of files that wait now, and that it took for loaded, for rejects, or for quarantined.

What an operator puts back must be in the watermark before it stops being what it was: up to when everything is loaded
is never told too late by it, not for a moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastetl.errors import LedgerError, StaleStepError
from fastetl.load import forget, put_back
from fastetl.model import Watermark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fastetl.aws import Deployment
    from fastetl.model import FileItem

RACES = 10
"""How often a change of HEAD or of the watermark is tried while coordinators change it as well."""


async def requeue(deployment: Deployment, file: FileItem) -> None:
    """Let a file in quarantine wait for a load again; in the same transaction the watermark is told of it.

    Args:
        deployment: of the pipeline.
        file: as it was read.

    Raises:
        StaleStepError: the file has left the quarantine, or the watermark is another one by now.
    """
    watermarks, name = deployment.ledger.watermarks, deployment.pipeline.name
    known = await watermarks.read(name)
    following = put_back(known or Watermark(name), [file], int(deployment.clock() * 1000))
    await deployment.ledger.files.requeue(file, watermarks.writing(following, known))


async def tell_waiting(deployment: Deployment, files: Iterable[FileItem | None]) -> None:
    """Tell the watermark which files wait that were ingested again, before what they were made of is deleted.

    Args:
        deployment: of the pipeline.
        files: as they were registered; those that are loaded or hold nothing but rejects are left out.
    """
    waiting = [file for file in files if file and file.state == "PENDING"]
    if waiting:
        await _change(deployment, lambda known: put_back(known, waiting, int(deployment.clock() * 1000)))


async def forget_watermark(deployment: Deployment) -> None:
    """Let it be unknown up to when everything is loaded, until what is put back from now on is loaded.

    Args:
        deployment: of the pipeline.
    """
    await _change(deployment, lambda known: forget(known, int(deployment.clock() * 1000)))


async def _change(deployment: Deployment, change: Callable[[Watermark], Watermark]) -> None:
    watermarks, name = deployment.ledger.watermarks, deployment.pipeline.name
    for _ in range(RACES):
        known = await watermarks.read(name)
        try:
            await watermarks.put(change(known or Watermark(name)), known)
        except StaleStepError:
            continue
        return
    raise LedgerError(f"the watermark of {name} changes all the time; try again")
