"""The ``accel-rt`` command: its group, its messages for errors and its exit codes."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import TextIO

import click

from accel_rt.cli.bench import bench
from accel_rt.cli.cameras import cameras
from accel_rt.cli.completion import completion
from accel_rt.cli.doctor import doctor
from accel_rt.cli.eval import evaluation
from accel_rt.cli.export import export
from accel_rt.cli.importing import importing
from accel_rt.cli.interrupt import EXIT_INTERRUPTED, interrupting_on_signals
from accel_rt.cli.live import live
from accel_rt.cli.models import models
from accel_rt.cli.pack import pack
from accel_rt.cli.segment import segment
from accel_rt.cli.street import street
from accel_rt.cli.text import say
from accel_rt.cli.train import train
from accel_rt.errors import AccelError
from accel_rt.version import __version__

DEBUG_VARIABLE = "ACCEL_RT_DEBUG"

EXIT_FAILURE = 1


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="accel-rt", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Real-time semantic segmentation of video.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


_COMMANDS = (
    segment,
    live,
    cameras,
    evaluation,
    bench,
    models,
    doctor,
    street,
    train,
    pack,
    export,
    importing,
    completion,
)

for _command in _COMMANDS:
    cli.add_command(_command)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line on ``args`` (the process's own for None) and exit."""
    sys.exit(run(args))


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every error becomes one line on stderr."""
    if not _debugging():
        warnings.showwarning = _show_warning
    try:
        with interrupting_on_signals():
            code = cli.main(args, prog_name="accel-rt", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort) as error:
        if isinstance(error.__cause__, EOFError):  # click takes it for the end of the user's input
            return _unexpected(error.__cause__)
        say("interrupted")
        return EXIT_INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        say(error.format_message())
        return error.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "accel-rt"
        return _fail(f"{error.format_message()} (see {command} --help)", error.exit_code)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except AccelError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # Whoever read the output has gone; the interpreter's last flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except Exception as error:
        return _unexpected(error)
    return code if isinstance(code, int) else 0


def _debugging() -> bool:
    return bool(os.environ.get(DEBUG_VARIABLE))


def _unexpected(error: BaseException) -> int:
    text = f"unexpected {type(error).__name__}: {error}"
    return _fail(f"{text} (set {DEBUG_VARIABLE}=1 for the traceback)", EXIT_FAILURE)


def _fail(message: str, code: int) -> int:
    """Say what was wrong, after the traceback of the error being handled where it is wanted."""
    if _debugging():
        traceback.print_exc()
    say("error: " + " ".join(message.split()))
    return code


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    say("warning: " + " ".join(str(message).split()))
