"""`fastetl completion`: commands and options by the Tab key."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from fastetl.cli.options import command

BUILDERS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@command("completion", extra="", answers=False)
@click.argument("shell", type=click.Choice(list(BUILDERS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """For this terminal: eval "$(fastetl completion bash)". For every terminal, put that line into ~/.bashrc.

    zsh has the same line in ~/.zshrc; fish: fastetl completion fish > ~/.config/fish/completions/fastetl.fish
    """
    script = BUILDERS[shell](ctx.find_root().command, {}, "fastetl", "_FASTETL_COMPLETE")
    click.echo(script.source())
