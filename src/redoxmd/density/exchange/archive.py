"""Import many CHGCAR and cube files into a store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from redoxmd.density.exchange.chgcar import read_chgcar
from redoxmd.density.exchange.cube import is_cube, read_cube, spin_cube
from redoxmd.density.exchange.text import UNPACK_IT, by_number, is_packed, plain_name, safe_name, unused_name, vasp_file
from redoxmd.density.grid import Density
from redoxmd.density.store import (
    STORE,
    density_checksum,
    density_key,
    density_keys,
    join_densities,
    split_key,
    write_densities,
)
from redoxmd.errors import DataError, DensityRefusal, DensityRefused
from redoxmd.files.hdf5 import read_hdf5


@dataclass(frozen=True)
class RefusedFile:
    """A refused file; the reason is one of `DensityRefused`, or "duplicate"."""

    path: Path
    reason: str
    detail: str


@dataclass
class DensityImportReport:
    """Keys of the imported densities, and refused files."""

    accepted: list[str] = field(default_factory=list)
    refused: list[RefusedFile] = field(default_factory=list)


def import_densities(
    paths: Sequence[str | Path],
    store_path: str | Path,
    valence: Mapping[str, float] | None = None,
    config_id: str | None = None,
    *,
    append: bool = False,
) -> DensityImportReport:
    """Read all CHGCAR files and cube pairs of some files and folders into a store, one at a time.

    Keys are `density_key(config_id, step)`. By default the name of a folder is the configuration, and its files in the
    order of the numbers in their names are the steps; the step of a refused file stays unused. With `config_id`, the
    steps count through all files. If no file is accepted, no store is written and an existing store is unchanged.

    Raises:
        DataError: the store exists and `append` is false, a path is missing, or no path holds a density.
    """
    store = Path(store_path)
    if store.exists() and not append:
        raise DataError(f"{store}: exists already; add to it with --append, or choose another name")
    existing = [store] if store.exists() else []
    keys = density_keys(store) if existing else []
    key_of: dict[str, str] = {}
    if existing:
        with read_hdf5(store, STORE) as file:
            key_of = {str(file[key].attrs.get("checksum")): key for key in keys}
    jobs = list(_assign_keys(find_density_files(paths), config_id, keys))
    report = DensityImportReport()
    store.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.parent, prefix=f".{store.stem}.") as folder:
        new = Path(folder) / store.name
        write_densities(new, _accepted(jobs, valence, key_of, report))
        if report.accepted:
            join_densities(store, [*existing, new])
    return report


def _accepted(
    jobs: Iterable[tuple[str, Path]],
    valence: Mapping[str, float] | None,
    key_of: dict[str, str],
    report: DensityImportReport,
) -> Iterator[tuple[str, Density]]:
    """Yield accepted densities with their keys and fill the report; `key_of` maps checksums to keys."""
    for key, path in jobs:
        try:
            density = read_density_file(path, valence)
        except DensityRefused as refusal:
            report.refused.append(RefusedFile(path, refusal.reason, refusal.detail))
            continue
        first_key = key_of.setdefault(density_checksum(density), key)
        if first_key != key:
            report.refused.append(RefusedFile(path, "duplicate", f"{path}: the same density as {first_key}"))
            continue
        yield key, density
        report.accepted.append(key)


def read_density_file(
    path: Path, valence: Mapping[str, float] | None = None, *, spin_optional: bool = False
) -> Density:
    """Read a CHGCAR (`chgcar.read_chgcar`), or a cube with its spin cube.

    Raises:
        DensityRefused: of the reader, or unreadable for a compression that is not supported.
    """
    if is_packed(path):
        raise DensityRefused(DensityRefusal.UNREADABLE, f"{path}: {UNPACK_IT}")
    if is_cube(path):
        return read_cube(path, spin_cube(path), valence)
    return read_chgcar(path, valence, spin_optional=spin_optional)


def find_density_files(paths: Iterable[str | Path]) -> list[Path]:
    """Density files without repetition, sorted by folder and number; the spin files of cube pairs are omitted.

    Raises:
        DataError: a path is missing, or no path holds a density.
    """
    files: set[Path] = set()
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        files |= {path} if path.is_file() else {file for file in path.rglob("*") if _is_density(file)}
    by_path = {file.parent.resolve() / file.name: file for file in sorted(files)}
    spins = {path.parent / plain_name(spin_cube(path)) for path in by_path if is_cube(path)}
    densities = {path for path in by_path if path.parent / plain_name(path) not in spins}
    if not densities:
        raise DataError(f"{', '.join(map(str, paths))}: no CHGCAR, CHGCAR*.gz or *.cube")
    return [
        by_path[path]
        for path in sorted(densities, key=lambda path: (by_number(str(path.parent)), by_number(path.name)))
    ]


def _is_density(path: Path) -> bool:
    packed = is_packed(path) and ("CHGCAR" in path.name or ".cube" in path.name)
    return (packed or is_cube(path) or (vasp_file(path) or ("",))[0] == "chgcar") and path.is_file()


def _assign_keys(
    files: Iterable[Path], config_id: str | None, existing_keys: Iterable[str]
) -> Iterator[tuple[str, Path]]:
    """Files with the keys of their densities; existing keys are not used again."""
    used = [split_key(key) for key in existing_keys]
    if config_id is not None:
        common = safe_name(config_id, "densities")
        first = 1 + max((step for name, step in used if name == common), default=-1)
        yield from ((density_key(common, first + step), file) for step, file in enumerate(files))
        return
    names = {name for name, _ in used}
    for folder, members in groupby(files, key=lambda file: file.parent.resolve()):
        name = unused_name(safe_name(folder.name, "densities"), names)
        names.add(name)
        yield from ((density_key(name, step), file) for step, file in enumerate(members))
