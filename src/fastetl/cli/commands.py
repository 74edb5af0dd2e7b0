"""The commands of `fastetl`. `fastetl --help` reads the table below; a command's module is imported when it is called.

A command `verify-account` is the click command `verify_account` of the module `fastetl.cli.verify_account`. To add one,
write its module and a line here.
"""

from __future__ import annotations

import difflib
import importlib
from typing import Any

import click

COMMANDS: dict[str, dict[str, str]] = {
    "Try": {
        "demo": "Carry real flights through all of fastetl on this machine.",
        "init": "Write a first configuration from a table's items.",
        "check": "Check the configuration, and show every problem at once.",
        "transform": "Show the CSV that would be written for an event.",
        "local": "Run AWS and a deployment of fastetl on this machine.",
    },
    "Deploy": {
        "outputs": "Print a stack's bucket, ledger and warehouse as variables.",
        "ddl": "Print, or run, the SQL that creates tables and views.",
        "backfill": "Carry over the items that are in the table already.",
        "verify-account": "Try out what AWS's documents leave open.",
    },
    "Watch": {
        "status": "Show how far each pipeline is, and what is wrong.",
        "verify": "Compare the table with the mirror, row by row.",
        "reconcile": "Compare files, ledger and warehouse.",
        "schema": "Compare configuration, tables and items.",
    },
    "Mend": {
        "load": "Load now what waits for a load.",
        "pause": "Stop loads until `fastetl resume`; ingest goes on.",
        "resume": "End a pause, and skip the waiting time of retries.",
        "quarantine": "List, retry or drop files that the warehouse refused.",
        "rejects": "List or replay records that no column could hold.",
        "replay": "Ingest the events that Lambda gave up on.",
        "resync": "Carry everything over again, and delete missing rows.",
        "reload": "Build a second table from the files on S3.",
        "rebuild-ledger": "Rebuild the ledger from S3 and the warehouse.",
    },
    "Tune": {
        "tune": "Find settings for a rate and a freshness.",
        "cost": "Explain what the running settings cost a month.",
        "completion": "Print the script that completes commands in a shell.",
    },
}
"""The commands by what they are for, each with what it does."""

SENTENCES = {name: sentence for group in COMMANDS.values() for name, sentence in group.items()}


class Commands(click.Group):
    """The group of all commands; it imports one when it is asked for it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002, D102 - click's
        return list(SENTENCES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002, D102 - click's
        if cmd_name not in SENTENCES:
            return None
        name = cmd_name.replace("-", "_")
        module: Any = importlib.import_module(f"fastetl.cli.{name}")
        command: click.Command = getattr(module, name)
        return command

    def resolve_command(  # noqa: D102 - click's
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in SENTENCES and (alike := difflib.get_close_matches(args[0], SENTENCES, 1)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {alike[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002, D102 - click's
        width = max(map(len, SENTENCES))
        for group, commands in COMMANDS.items():
            with formatter.section(group):
                formatter.write_dl([(name.ljust(width), sentence) for name, sentence in commands.items()])
