"""The command line of charges: `redoxmd charges reference` and `along`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `charges` with its own commands."""
    text = "Bader charges and oxidation states of reference densities and along a trajectory"
    group = commands.add_parser("charges", help=text, description=text)
    group_commands = group.add_subparsers(required=True, metavar="COMMAND")
    _add_reference(group_commands)
    _add_along(group_commands)


def _add_reference(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "charges of the training, validation and test densities of a model: reference.csv and oxidation.json"
    command = commands.add_parser("reference", help=text, description=text)
    command.add_argument("folder", type=Path, metavar="FOLDER", help="folder written by `redoxmd density train`")
    command.add_argument("--config", type=Path, help="sections charges and structures are read; default: all defaults")
    command.set_defaults(command=_reference)


def _add_along(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "charges, moments and oxidation states of the redox element along a trajectory, as NetCDF"
    command = commands.add_parser("along", help=text, description=text)
    command.add_argument("folder", type=Path, metavar="FOLDER", help="folder written by `redoxmd density train`")
    command.add_argument("frames", type=Path, metavar="FRAMES", help="a trajectory of redoxmd or a file that ASE reads")
    command.add_argument("--to", type=Path, required=True, metavar="FILE", help="NetCDF to write")
    command.add_argument("--config", type=Path, help="sections charges and structures are read; default: all defaults")
    command.add_argument("--every", type=int, default=1, metavar="N", help="every N-th frame")
    command.add_argument("--frame-fs", type=float, metavar="fs", help="time between frames if the file has none (1)")
    command.set_defaults(command=_along)


def _reference(options: argparse.Namespace) -> int:
    from redoxmd.charges.session import charges_of_reference

    print(charges_of_reference(options.folder, options.config))
    return 0


def _along(options: argparse.Namespace) -> int:
    from redoxmd.charges.session import charges_along

    print(charges_along(options.folder, options.frames, options.to, options.config, options.every, options.frame_fs))
    return 0
