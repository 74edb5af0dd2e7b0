"""`fastetl rebuild-ledger`: a ledger that was lost, or that no longer agrees with the warehouse."""

from __future__ import annotations

from pathlib import Path

from fastetl.cli.options import command, config_option, pipelines_option
from fastetl.cli.output import echo_json, tell, write_count


@command("rebuild-ledger")
@config_option
@pipelines_option
def rebuild_ledger(config: Path, pipeline: str, *, as_json: bool) -> None:
    """Run it after the ledger was lost, or after the ledger or the warehouse was set back to an earlier time.

    It reads the metadata of every file on S3 and the whole ledger, a part of them at a time.
    """
    from fastetl.cli.deployments import run_each
    from fastetl.operate import rebuild_ledger as rebuild

    found = run_each(config, pipeline, rebuild).values()
    if as_json:
        echo_json(list(found))
    for each in found:
        tell(
            f"{each.pipeline}: {write_count(each.registered, 'file')} registered, "
            f"{each.marked_loaded:,} marked as loaded, {each.waiting_again:,} wait again"
        )
        if each.resync:
            remedy = f"run `fastetl resync -p {each.pipeline} --export {each.resync}`"
            tell(f"{each.pipeline}: what its last resync deleted is lost, and comes back: {remedy}", colour="red")
        elif each.awaits_resync:
            why = "files wait whose epoch was lost while newer changes were loaded without it"
            tell(f"{each.pipeline}: {why}: run `fastetl resync -p {each.pipeline}`", colour="red")
