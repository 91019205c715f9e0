"""The command line of densities: `redoxmd density import`, `export`, `list`, `train`, `predict`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `density` with its own commands."""
    text = "import, export and list densities; train density models and predict with them"
    group = commands.add_parser("density", help=text, description=text)
    group_commands = group.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, text: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        command = group_commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=run)
        return command

    command = add(
        "import", "read CHGCAR and cube files into a store; refused files are listed with the reason", _import
    )
    command.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="files, or folders to search")
    command.add_argument("--into", type=Path, required=True, metavar="STORE", help="the store to write (.h5)")
    command.add_argument("--valence", default="", metavar="Na=7,V=13", help="valence electrons of each element")
    command.add_argument("--config-id", metavar="ID", help="one configuration for all (default: each folder's name)")
    command.add_argument("--append", action="store_true", help="add to an existing store")

    command = add("export", "write a density as CHGCAR, CHGCAR.gz or NAME.cube with NAME_spin.cube", _export)
    command.add_argument("store", type=Path, metavar="STORE")
    command.add_argument("key", metavar="KEY", help="as `redoxmd density list` shows it")
    command.add_argument("--to", type=Path, required=True, metavar="FILE", help="the name determines the format")

    add("list", "list the densities of a store", _list).add_argument("store", type=Path, metavar="STORE")

    text = "train a density model on stores: model.pt, history.csv, errors.csv and dataset.json in a folder"
    command = add("train", text, _train)
    command.add_argument("stores", type=Path, nargs="+", metavar="STORE")
    command.add_argument("--into", type=Path, required=True, metavar="FOLDER")
    command.add_argument(
        "--config", type=Path, help="sections density and structures, and train.exclude are read; default: all defaults"
    )
    command.add_argument("--test", nargs="*", default=[], metavar="CONFIG_ID", help="configurations of the test set")

    command = add("predict", "predict total and spin density of structures into a store", _predict)
    command.add_argument("model", type=Path, metavar="MODEL")
    command.add_argument("frames", type=Path, metavar="FRAMES", help="a trajectory of redoxmd or a file that ASE reads")
    command.add_argument("--into", type=Path, required=True, metavar="STORE")
    command.add_argument("--spacing", type=float, default=0.15, metavar="Å", help="grid spacing (default 0.15)")
    command.add_argument("--every", type=int, default=1, metavar="N", help="every N-th frame")


def _train(options: argparse.Namespace) -> int:
    from redoxmd.density.session import train_on_stores

    for line in train_on_stores(options.stores, options.into, options.config, options.test):
        print(line)
    return 0


def _predict(options: argparse.Namespace) -> int:
    from redoxmd.density.session import predict_frames

    keys = predict_frames(options.model, options.frames, options.into, options.spacing, options.every)
    print(f"{len(keys)} densities in {options.into}")
    return 0


def _import(options: argparse.Namespace) -> int:
    from redoxmd.density.exchange.archive import import_densities
    from redoxmd.density.exchange.valence import parse_valences

    valence = parse_valences(options.valence)
    report = import_densities(options.paths, options.into, valence, options.config_id, append=options.append)
    for line, _ in _store_lines(options.into, report.accepted):
        print(line)
    for refusal in report.refused:
        print(f"refused, {refusal.reason}: {refusal.detail}")
    print(f"{len(report.accepted)} accepted, {len(report.refused)} refused")
    return 0 if report.accepted else 1


def _export(options: argparse.Namespace) -> int:
    from redoxmd.density.exchange.chgcar import write_chgcar
    from redoxmd.density.exchange.cube import is_cube, spin_cube, write_cube
    from redoxmd.density.store import density_keys, read_density
    from redoxmd.errors import DataError

    target: Path = options.to
    if options.key not in density_keys(options.store):
        raise DataError(f"{options.store}: no density {options.key}; `redoxmd density list {options.store}` shows all")
    if is_cube(target):
        density = read_density(options.store, options.key)
        write_cube(target, density, "total")
        write_cube(spin_cube(target), density, "spin")
    elif "CHGCAR" in target.name:
        write_chgcar(target, read_density(options.store, options.key))
    else:
        raise DataError(f"{target}: the format follows the name; use CHGCAR, CHGCAR.gz or NAME.cube")
    return 0


def _list(options: argparse.Namespace) -> int:
    from redoxmd.density.store import density_keys

    lines = [f"{line}  {source}" for line, source in _store_lines(options.store, density_keys(options.store))]
    print("\n".join(lines) or f"{options.store}: no densities")
    return 0


def _store_lines(store: Path, keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    """One line and the source of densities of a store; the correction is the relative change of the integral, in %."""
    from redoxmd.density.store import STORE
    from redoxmd.files.hdf5 import read_hdf5

    if not keys:
        return
    with read_hdf5(store, STORE) as file:
        for key in keys:
            attrs, grid = file[key].attrs, "×".join(map(str, file[key]["total"].shape))
            correction = 100 * (attrs["correction"] - 1)
            electrons, moment_muB = attrs["electrons"], attrs["moment_muB"]
            yield (
                f"{key:<28} {grid:>13} {electrons:>10.6g} e {moment_muB:>9.3f} μB {correction:>+8.3f} %",
                attrs["source"],
            )
