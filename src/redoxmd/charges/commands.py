"""The command line of charges: `redoxmd charges reference` and `along`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `charges` with its own commands."""
    text = "Bader charges and oxidation states of reference densities and along a trajectory"
    group = commands.add_parser("charges", help=text, description=text)
    group_commands = group.add_subparsers(required=True, metavar="COMMAND")
    text = "charges of the training, validation and test densities of a model: reference.csv and oxidation.json"
    reference = group_commands.add_parser("reference", help=text, description=text)
    text = "charges, moments and oxidation states of the redox element along a trajectory, as NetCDF"
    along = group_commands.add_parser("along", help=text, description=text)
    for command in (reference, along):
        command.add_argument("folder", type=Path, metavar="FOLDER", help="folder written by `redoxmd density train`")
        text = "sections charges and structures are read; default: all defaults"
        command.add_argument("--config", type=Path, help=text)
    along.add_argument("frames", type=Path, metavar="FRAMES", help="a trajectory of redoxmd or a file that ASE reads")
    along.add_argument("--to", type=Path, required=True, metavar="FILE", help="NetCDF to write")
    along.add_argument("--every", type=int, default=1, metavar="N", help="every N-th frame")
    along.add_argument("--frame-fs", type=float, metavar="fs", help="time between frames if the file has none (1)")
    reference.set_defaults(command=_reference)
    along.set_defaults(command=_along)


def _reference(options: argparse.Namespace) -> int:
    from redoxmd.charges.session import charges_of_reference

    print(charges_of_reference(options.folder, options.config))
    return 0


def _along(options: argparse.Namespace) -> int:
    from redoxmd.charges.session import charges_along

    print(charges_along(options.folder, options.frames, options.to, options.config, options.every, options.frame_fs))
    return 0
