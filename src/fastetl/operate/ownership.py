"""Make a stack the owner of a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastetl.load import Epochs
from fastetl.sql import take_over_sql

if TYPE_CHECKING:
    from fastetl.aws import Deployment


async def take_over(deployment: Deployment) -> None:
    """Make a stack the owner of its pipeline's target, whoever owned it, and give its HEAD the target's epochs.

    Args:
        deployment: of the pipeline, in the stack that becomes the owner.

    Raises:
        WarehouseError: it could not be done, or not all of it; doing it again completes it.
    """
    pipeline = deployment.pipeline
    sql = take_over_sql(pipeline, deployment.owner)
    token = ("owner", deployment.new_name())
    await deployment.warehouse.run(sql, name=f"fastetl/owner/{pipeline.name}", token=token)
    # The former owner may have begun one since this stack's HEAD was made.
    await Epochs(deployment).restore()
