"""`fastetl replay`: events that the event source mapping gave up on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastetl.cli.options import command, config_option
from fastetl.cli.output import echo_json, tell, write_count

if TYPE_CHECKING:
    from fastetl.cli.deployments import Deployments
    from fastetl.ingest import Ingest


@command("replay")
@config_option
def replay(config: Path, *, as_json: bool) -> None:
    """They are in the bucket under `aws/lambda/`; each is deleted once its changes are registered.

    What cannot be ingested stays there and keeps no other from being replayed; the exit code is 1 then.
    """
    from fastetl.cli.deployments import run

    async def work(deployments: Deployments) -> Any:
        from fastetl.cli.enrichment import build_ingest
        from fastetl.operate import replay_failures

        built: dict[str, Ingest] = {}

        async def ingest_for(name: str) -> Ingest:
            if name not in built:
                built[name] = await build_ingest(deployments.choose(name), config)
            return built[name]

        return await replay_failures(deployments.config, deployments.bucket, ingest_for)

    found = run(config, work)
    if as_json:
        echo_json(found)
    for each in found:
        counts = f"{write_count(each.records, 'record')} ingested, {each.rejects:,} of them rejected"
        tell(f"{each.source}: {f'not ingested: {each.error}' if each.error else counts}")
    if not found:
        tell("Lambda has given up on no event")
    if any(each.error for each in found):
        raise SystemExit(1)
