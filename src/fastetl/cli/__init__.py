"""`fastetl`, the command: tries configurations out, runs everything on one machine, and shows what is where.

Results go to standard output, progress and problems to standard error. Exit codes: 0 done, 1 it is not as it should
be, 2 the configuration or the command line has problems.
"""

from __future__ import annotations

import sys

import typer

from fastetl.cli import backfill, configuration, demo, init, local, operate, outputs, schema, transform, tune
from fastetl.cli.output import problems
from fastetl.errors import ConfigError, FastetlError

typer_app = typer.Typer(
    name="fastetl",
    help="Carry every change of a DynamoDB table into Amazon Redshift, once and in order.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for module in (init, demo, local, transform, configuration, outputs, operate, backfill, schema, tune):
    module.register(typer_app)


def app() -> None:
    """Run the command line."""
    try:
        typer_app()
    except ConfigError as error:
        problems.print(
            *(str(problem) for problem in error.problems), sep="\n", style="red", markup=False, soft_wrap=True
        )
        sys.exit(2)
    except (FastetlError, OSError) as error:
        problems.print(f"{type(error).__name__}: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)
