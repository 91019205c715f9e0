"""The command `redoxmd analyse`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from redoxmd.electrons.commands import OXIDATION_NUMBERS


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `analyse`."""
    text = "diffusion, sites and jumps of mobile ions in trajectories of any code: tables, figures and one page"
    command = commands.add_parser("analyse", help=text, description=text)
    command.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="XDATCAR, vasprun.xml, extended XYZ, .traj, LAMMPS dump …"
    )
    command.add_argument("--ion", nargs="+", required=True, metavar="El", help="mobile elements")
    command.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="folder to write")
    command.add_argument(
        "--structure", type=Path, metavar="FILE", help="CIF or POSCAR with every site of the first ion"
    )
    command.add_argument("--framework", nargs="+", metavar="El", help="elements that do not diffuse (default: found)")
    text = "temperature of all files, or of each, if the files do not state it"
    command.add_argument("--temperature", type=float, nargs="+", metavar="K", help=text)
    text = "time between two frames of all files, or of each, if the files do not state it"
    command.add_argument("--frame-fs", type=float, nargs="+", metavar="fs", help=text)
    text = "elements of LAMMPS types or atom names"
    command.add_argument("--elements", default="", metavar="1=Na,2=V", help=text)
    text = "atoms of files with positions only; MDAnalysis then reads the trajectories (XTC, DCD, H5MD …)"
    command.add_argument("--topology", type=Path, metavar="FILE", help=text)
    text = "time at the beginning of each file that is left out"
    command.add_argument("--skip-ps", type=float, default=0.0, metavar="ps", help=text)
    text = "leave out jumps and sites, for frames too far apart to resolve jumps"
    command.add_argument("--msd-only", action="store_true", help=text)
    command.add_argument("--unwrapped", action="store_true", help="the positions are unwrapped")
    text = "oxidation states of the redox atoms in each frame with moments, as `redoxmd states`: V3=1.85,V4=1.05"
    command.add_argument("--levels", metavar="STATES", help=text)
    text = f"with --levels, oxidation numbers of all other elements (default {OXIDATION_NUMBERS})"
    command.add_argument("--oxidation", default=OXIDATION_NUMBERS, metavar="NUMBERS", help=text)
    command.add_argument("--config", type=Path, help="sections diffusion and figures are read; default: all defaults")
    command.set_defaults(command=_analyse)


def _analyse(options: argparse.Namespace) -> int:
    from redoxmd.analyse.page import write_page
    from redoxmd.analyse.reading import parse_elements, read_md
    from redoxmd.analyse.results import analyse_md, write_results
    from redoxmd.config import load_config
    from redoxmd.config.sections import Config
    from redoxmd.electrons.parsing import parse_levels
    from redoxmd.electrons.table import summarise_states, tabulate_states
    from redoxmd.files.records import write_text

    config = Config() if options.config is None else load_config(options.config)
    shared = {
        "elements": parse_elements(options.elements),
        "topology": options.topology,
        "unwrapped": options.unwrapped,
        "skip_ps": options.skip_ps,
    }
    levels = None if options.levels is None else parse_levels(options.levels, options.oxidation)
    intervals_fs = _for_each_file("--frame-fs", options.frame_fs, options.files)
    temperatures_K = _for_each_file("--temperature", options.temperature, options.files)
    trajectories = [
        read_md(path, frame_fs=interval_fs, temperature_K=kelvin, **shared)
        for path, interval_fs, kelvin in zip(options.files, intervals_fs, temperatures_K, strict=True)
    ]
    report = None if levels is None else tabulate_states(options.files, levels)
    selection = (options.ion, options.structure, options.framework)
    results = analyse_md(trajectories, *selection, config.diffusion, config.seed, options.msd_only)
    write_results(results, options.to)
    states: list[str] = []
    if report is not None:
        states = summarise_states(report)
        write_text(options.to / "states.csv", report.table.to_csv(index=False, float_format="%.6g"))
    print("\n".join([*states, write_page(results, options.to, config.figures, states)]))
    return 0


def _for_each_file(option: str, values: list[float] | None, files: list[Path]) -> Sequence[float | None]:
    """One value per file; a single value is that of all files.

    Raises:
        ConfigError: another number of values, or a value that is not positive.
    """
    from redoxmd.errors import ConfigError

    if values is None:
        return [None] * len(files)
    if len(values) not in (1, len(files)) or not all(value > 0 for value in values):
        given = " ".join(f"{value:g}" for value in values)
        raise ConfigError(f"{option} {given}: give one positive number, or one for each of {len(files)} files")
    return values * (len(files) if len(values) == 1 else 1)
