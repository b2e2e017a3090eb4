"""``railscribe``: the verbs, and the one place where an error becomes a sentence and an exit code.

Exit codes: 0 allowed or ok, 10 blocked, 11 flagged, 12 undecided, 1 a check or verification failed, 2 wrong
usage, 3 something outside failed (engine, database, a missing package).
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from railscribe.cli import audit, check, db, demo, doctor, evaluate, init, policy, train
from railscribe.errors import RailscribeError

app = typer.Typer(
    name="railscribe",
    help="Nemotron content safety as rails, with every verdict in SQL.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("check")(check.check)
app.command("eval")(evaluate.evaluate)
app.command("init")(init.init)
app.add_typer(db.app, name="db")
app.add_typer(audit.app, name="audit")
app.add_typer(policy.app, name="policy")
app.command("doctor")(doctor.doctor)
app.command("train")(train.train)


def _print_version(wanted: bool) -> None:
    if wanted:
        from railscribe import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run Railscribe's verbs; each explains itself with --help."""


def main() -> None:
    """Run the command line and exit with its documented code."""
    # What goes wrong is said once, below or in the answer; the log is for programs that embed Railscribe.
    logging.getLogger("railscribe").addHandler(logging.NullHandler())
    try:
        app()
    except RailscribeError as error:
        typer.echo(f"railscribe: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`| head`); there is nobody to tell.
        sys.stderr.close()
        sys.exit(0)
