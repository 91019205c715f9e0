"""Commands `redoxmd import` and `redoxmd export`."""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from redoxmd.electrons.commands import OXIDATION_NUMBERS

if TYPE_CHECKING:
    import numpy as np

    from redoxmd.archive.importing import RequiredLevel
    from redoxmd.config.sections import Config

FORMS = ("extxyz", "mace", "nequip", "deepmd", "colabfit")


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `import` and `export`."""
    text = "read finished VASP, GPAW and ASE calculations into a dataset; refusals are listed with their reasons"
    command = commands.add_parser("import", help=text, description=text)
    command.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="files, or folders to search")
    command.add_argument("--into", type=Path, required=True, metavar="DATASET", help="the dataset folder to write")
    command.add_argument("--config", type=Path, help="accept only the level of theory of its engine")
    command.add_argument("--trust", action="store_true", help="assign the config's level to files that state none")
    text = "judge oxidation states without --config: levels as for `redoxmd states`, V3=1.85,V4=1.05"
    command.add_argument("--levels", metavar="STATES", help=text)
    text = f"with --levels, oxidation numbers of all other elements (default {OXIDATION_NUMBERS})"
    command.add_argument("--oxidation", default=OXIDATION_NUMBERS, metavar="NUMBERS", help=text)
    command.add_argument("--append", action="store_true", help="add to the dataset")
    command.add_argument("--config-id", metavar="ID", help="one configuration for all (default: from folders)")
    command.set_defaults(command=_import)
    text = "write the frames of a dataset, or an ensemble, for another code"
    command = commands.add_parser("export", help=text, description=text)
    text = "a dataset folder or a file of labelled frames; for metatomic an ensemble.pt"
    command.add_argument("source", type=Path, metavar="SOURCE", help=text)
    command.add_argument("--as", dest="form", choices=(*FORMS, "metatomic"), required=True, help="the format")
    text = "a file for extxyz and metatomic, else a folder"
    command.add_argument("--to", type=Path, required=True, metavar="PATH", help=text)
    command.set_defaults(command=_export)


def _import(options: argparse.Namespace) -> int:
    from redoxmd.archive.importing import FORCE_CEILING_EV_A, import_archive
    from redoxmd.config import load_config
    from redoxmd.electrons.parsing import parse_levels
    from redoxmd.electrons.states import OxidationLevels
    from redoxmd.errors import ConfigError

    if options.trust and options.config is None:
        raise ConfigError("--trust: has no effect without --config; name the config whose level the files have")
    if options.levels is not None and options.config is not None:
        raise ConfigError("--levels: only without --config, whose section electrons gives the levels; leave one out")
    config = None if options.config is None else load_config(options.config)
    levels = None if config is None else OxidationLevels.of(config.electrons)
    if options.levels is not None:
        levels = parse_levels(options.levels, options.oxidation)
    report = import_archive(
        options.paths,
        options.into,
        None if config is None else _required_level(config, trust=options.trust),
        levels,
        force_ceiling_eV_A=FORCE_CEILING_EV_A if config is None else config.engine.force_ceiling_eV_A,
        append=options.append,
        config_id=options.config_id,
    )
    print("\n".join(report.lines()))
    return 0 if report.frames else 1


def _required_level(config: Config, *, trust: bool) -> RequiredLevel:
    """Level and hash of a config's engine; the hash alone if the engine cannot state its level."""
    from ase import Atoms

    from redoxmd.archive.importing import RequiredLevel
    from redoxmd.archive.levels import STATED_HASH
    from redoxmd.engines import level_of_config, settings_hash
    from redoxmd.engines.calculation import Level
    from redoxmd.errors import ConfigError
    from redoxmd.structures.build import initial_moments
    from redoxmd.structures.source import source_cell

    @cache
    def expected(symbols: tuple[str, ...]) -> np.ndarray:
        return initial_moments(Atoms(symbols), config.structures)

    atoms = source_cell(config.structures).atoms
    config_hash = settings_hash(config.engine)
    try:
        level = level_of_config(config.engine, list(dict.fromkeys(atoms.symbols)), atoms.cell.lengths().tolist())
    except ConfigError:
        level = Level(config.engine.name, details={STATED_HASH: config_hash})
    # Foreign frames may have the atoms in another order, so which of them are spin-down is unknown.
    order_known = not config.structures.spin_down
    return RequiredLevel(
        level, config_hash, trust, (lambda frame: expected(tuple(frame.symbols))) if order_known else None
    )


def _export(options: argparse.Namespace) -> int:
    from redoxmd.archive.exporting import export_ensemble, export_frames

    if options.form == "metatomic":
        print(options.to, *export_ensemble(options.source, options.to), sep="\n")
        return 0
    print(*export_frames(options.source, options.form, options.to), sep="\n")
    return 0
