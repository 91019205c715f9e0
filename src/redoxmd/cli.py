"""The command line: `redoxmd check`, `status`, `path`, `retry`, `recover`, `trace`, `crate`, `import` and more."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence

from redoxmd import __version__
from redoxmd.analyse.commands import add_commands as add_analyse_commands
from redoxmd.archive.commands import add_commands as add_archive_commands
from redoxmd.charges.commands import add_commands as add_charges_commands
from redoxmd.density.commands import add_commands as add_density_commands
from redoxmd.electrons.commands import add_commands as add_electrons_commands
from redoxmd.errors import RedoxmdError
from redoxmd.runs.commands import add_commands as add_run_commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; a RedoxmdError, or a file that the system does not deliver, is one line and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        # An ASCII terminal shows `?` for Å instead of an encoding error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    parser = argparse.ArgumentParser(prog="redoxmd", description="From DFT MD to nanosecond dynamics with electrons.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add_commands in (
        add_run_commands,
        add_archive_commands,
        add_density_commands,
        add_charges_commands,
        add_electrons_commands,
        add_analyse_commands,
    ):
        add_commands(commands)
    options = parser.parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        status = command(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader closed the pipe, as in `redoxmd trace … | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except RedoxmdError as error:
        print(f"redoxmd: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        print(f"redoxmd: {error.filename}: {error.strerror}; correct the access to this file", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
