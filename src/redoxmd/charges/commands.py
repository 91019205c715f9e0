"""The command line of charges: `redoxmd charges FOLDER`, `charges reference` and `charges along`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from redoxmd.electrons.commands import OXIDATION_NUMBERS


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `charges` with its own commands."""
    text = "Bader charges and oxidation states of CHGCARs, of reference densities and along a trajectory"
    more = f"{text}; `redoxmd charges FOLDER` is short for `redoxmd charges files FOLDER`"
    group = commands.add_parser("charges", help=text, description=more)
    group_commands = group.add_subparsers(required=True, metavar="COMMAND")
    _add_files(group_commands)
    parse = group.parse_known_args

    def parse_with_default(
        args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        words = list(args or [])
        named = not words or words[0] in {*group_commands.choices, "-h", "--help"}
        return parse(words if named else ["files", *words], namespace)

    group.parse_known_args = parse_with_default  # type: ignore[method-assign,assignment]
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


def _add_files(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "charge, moment and oxidation state of every atom in CHGCAR and cube files, as CSV; needs no model"
    files = commands.add_parser("files", help=text, description=text)
    files.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="files, or folders to search")
    files.add_argument("--to", type=Path, default=Path("charges.csv"), metavar="FILE", help="CSV to write")
    files.add_argument("--valence", default="", metavar="Na=7,V=13", help="valence electrons of each element")
    files.add_argument("--redox", metavar="V=3,4", help="element, lower and higher oxidation state")
    text = f"oxidation numbers of all other elements (default {OXIDATION_NUMBERS})"
    files.add_argument("--oxidation", default=OXIDATION_NUMBERS, metavar="NUMBERS", help=text)
    files.add_argument("--frame-fs", type=float, metavar="fs", help="time between two files")
    files.set_defaults(command=_files)


def _files(options: argparse.Namespace) -> int:
    import pandas as pd

    from redoxmd.charges.folder import charge_files, parse_redox, with_states
    from redoxmd.config.sections import Charges
    from redoxmd.density.exchange.valence import parse_valences
    from redoxmd.electrons.parsing import parse_oxidation_numbers
    from redoxmd.files.records import atomic_path

    redox = None if options.redox is None else parse_redox(options.redox)
    fixed = parse_oxidation_numbers(options.oxidation)
    tables, refused = [], 0
    for path, result in charge_files(options.paths, parse_valences(options.valence), options.frame_fs):
        if isinstance(result, str):
            refused += 1
            print(f"refused, {result}")
        else:
            tables.append(result)
            print(f"{path}: {len(result)} atoms")
    if tables:
        table = pd.concat(tables, ignore_index=True)
        if redox is not None:
            table, summary = with_states(table, *redox, fixed, Charges())
            print(summary)
        with atomic_path(options.to) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
    print(
        f"{len(tables)} files in {options.to}, {refused} refused" if tables else f"nothing written, {refused} refused"
    )
    return 0 if tables else 1


def _reference(options: argparse.Namespace) -> int:
    from redoxmd.charges.session import charges_of_reference

    print(charges_of_reference(options.folder, options.config))
    return 0


def _along(options: argparse.Namespace) -> int:
    from redoxmd.charges.session import charges_along

    print(charges_along(options.folder, options.frames, options.to, options.config, options.every, options.frame_fs))
    return 0
