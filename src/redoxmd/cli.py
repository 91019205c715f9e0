"""The command line: `redoxmd check`, `status`, `path`, `retry`, `recover`, `trace`, `import`, `export` and more."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from redoxmd import __version__
from redoxmd.archive.commands import add_commands as add_archive_commands
from redoxmd.charges.commands import add_commands as add_charges_commands
from redoxmd.density.commands import add_commands as add_density_commands
from redoxmd.errors import RedoxmdError
from redoxmd.runs.commands import DEFAULT_CONFIG, check_changes, report_site_problems
from redoxmd.runs.commands import add_commands as add_upkeep_commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; a RedoxmdError, or a file that the system does not deliver, is one line and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        # An ASCII terminal shows `?` for Å instead of an encoding error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    options = _parser().parse_args(arguments)
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
        print(f"redoxmd: {error.filename}: {error.strerror}; the file is kept, mend its access", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="redoxmd", description="From DFT MD to nanosecond dynamics with electrons.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, function, text in (
        ("check", _check, "validate a config and print its plan"),
        ("status", _status, "show the progress of a run"),
        ("path", _path, "print the results folder of a run"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("config", type=Path, metavar="CONFIG", nargs="?", default=DEFAULT_CONFIG)
        command.set_defaults(command=function)
        if name == "check":
            text = "list instead the jobs that the next start would repeat, with reasons and costs"
            command.add_argument("--changes", action="store_true", help=text)
            text = "also test a site profile: ask Slurm about each kind of job and inspect a node in a short job"
            command.add_argument("--profile", metavar="NAME", help=text)
    schema = commands.add_parser("schema", help="write the config's schema and documented defaults")
    schema.add_argument("--root", type=Path, default=Path(), help="the repository")
    schema.set_defaults(command=_schema)
    add_archive_commands(commands)
    add_upkeep_commands(commands)
    add_density_commands(commands)
    add_charges_commands(commands)
    return parser


def _check(options: argparse.Namespace) -> int:
    from redoxmd.config import load_config
    from redoxmd.runs.plan import describe_plan, make_plan

    if options.changes:
        return check_changes(options.config)
    config = load_config(options.config)
    plan = make_plan(config)
    print(describe_plan(config, plan))
    refused = report_site_problems(options.config, options.profile) if options.profile else 0
    return 1 if plan.problems or refused else 0


def _status(options: argparse.Namespace) -> int:
    from redoxmd.config import load_config
    from redoxmd.runs.status import describe_status

    config = load_config(options.config)
    print(describe_status(Path("results") / config.run, config))
    return 0


def _path(options: argparse.Namespace) -> int:
    from redoxmd.config import load_config

    print(Path("results") / load_config(options.config).run)
    return 0


def _schema(options: argparse.Namespace) -> int:
    from redoxmd.config.document import write_documents

    for path in write_documents(options.root):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
