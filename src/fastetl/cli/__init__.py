"""`fastetl`, the command: tries configurations out, runs everything on one machine, and operates deployments.

Answers go to standard output, progress and problems to standard error. Exit codes: 0 done; 1 something is not as it
should be; 2 the command line or the configuration has problems.
"""

from __future__ import annotations

import os
import signal
import sys

import click

from fastetl import __version__
from fastetl.cli.commands import Commands
from fastetl.cli.options import DEBUG

__all__ = ["app", "commands"]

INTERRUPTED = 130
"""What shells give a command that ended by Ctrl-C: 128 and the signal's number."""


@click.group(
    name="fastetl",
    cls=Commands,
    epilog="`fastetl COMMAND --help` shows a command's options.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, message="fastetl %(version)s")
def commands() -> None:
    """Carry every change of a DynamoDB table into Amazon Redshift, once and in order."""


commands.params.append(DEBUG)


def app() -> None:
    """Run the command line, and end the process with the command's exit code."""
    try:
        # A polite end is the same as Ctrl-C: what was started is stopped.
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        sys.exit(commands.main(prog_name="fastetl", standalone_mode=False))
    except BrokenPipeError:
        # The reader of the output has closed it, as in `fastetl status | head`: nothing more can be written there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("aborted", err=True)
        sys.exit(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - a command line ends with a sentence, whatever happened
        from fastetl.cli.failures import report

        sys.exit(report(error, debug="--debug" in sys.argv, as_json="--json" in sys.argv))
