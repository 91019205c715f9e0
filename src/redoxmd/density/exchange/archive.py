"""An archive of CHGCAR and cube files into a store."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from redoxmd.density.exchange.chgcar import read_chgcar
from redoxmd.density.exchange.cube import is_cube, read_cube, spin_cube
from redoxmd.density.exchange.text import UNPACK_IT, is_packed, plain_name, vasp_file
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
class Imported:
    """A density that entered the store: where from, and what it holds (see `Density`)."""

    key: str
    path: Path
    shape: tuple[int, int, int]
    electrons: float
    moment_muB: float
    correction: float


@dataclass(frozen=True)
class Refused:
    """A file that did not: a reason of `DensityRefused`, or duplicate."""

    path: Path
    reason: str
    detail: str


@dataclass
class ImportReport:
    """What became of each file."""

    accepted: list[Imported] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


def import_densities(
    paths: Sequence[str | Path],
    store_path: str | Path,
    valence: Mapping[str, float] | None = None,
    config_id: str | None = None,
    *,
    append: bool = False,
) -> ImportReport:
    """Read every CHGCAR and cube pair of these files and folders into a store, one at a time.

    Keys are `density_key(config_id, step)`: by default each folder is a configuration of its name, and its files, in
    the order of the numbers in their names, are its steps; a refused file leaves its number unused. One `config_id`
    for all counts through all files. When nothing is accepted, no store is written and an old one stays as it is.

    Raises:
        DataError: the store exists and is not to be appended to, a path is missing, or there is no density in any.
    """
    store = Path(store_path)
    if store.exists() and not append:
        raise DataError(f"{store}: exists already; --append adds to it, or choose another name")
    old = [store] if store.exists() else []
    keys = [key for part in old for key in density_keys(part)]
    jobs = list(_keyed(_find(paths), config_id, keys))
    report = ImportReport()
    store.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.parent, prefix=f".{store.stem}.") as folder:
        new = Path(folder) / store.name
        write_densities(new, _accepted(jobs, valence, _checksums(old, keys), report))
        if report.accepted:
            join_densities(store, [*old, new])
    return report


def _accepted(
    jobs: Iterable[tuple[str, Path]], valence: Mapping[str, float] | None, seen: dict[str, str], report: ImportReport
) -> Iterator[tuple[str, Density]]:
    """Sound densities with their keys; `seen` leads from checksums to keys."""
    for key, path in jobs:
        try:
            density = _read(path, valence)
        except DensityRefused as refusal:
            report.refused.append(Refused(path, refusal.reason, refusal.detail))
            continue
        twin = seen.setdefault(density_checksum(density), key)
        if twin != key:
            report.refused.append(Refused(path, "duplicate", f"{path}: the same density as {twin}"))
            continue
        yield key, density
        report.accepted.append(
            Imported(key, path, density.shape, density.electrons, density.moment_muB, density.correction)
        )


def _read(path: Path, valence: Mapping[str, float] | None) -> Density:
    if is_packed(path):
        raise DensityRefused(DensityRefusal.UNREADABLE, f"{path}: {UNPACK_IT}")
    return read_cube(path, spin_cube(path), valence) if is_cube(path) else read_chgcar(path, valence)


def _checksums(stores: Iterable[Path], keys: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for store in stores:
        with read_hdf5(store, STORE) as file:
            found |= {str(file[key].attrs.get("checksum")): key for key in keys}
    return found


def _find(paths: Iterable[str | Path]) -> list[Path]:
    """Files of densities, each once, folder by folder, numbers in their order; the spin halves of cube pairs left out.

    Raises:
        DataError: a path is missing, or there is no density.
    """
    found: set[Path] = set()
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        found |= {path} if path.is_file() else {file for file in path.rglob("*") if _is_density(file)}
    single = {file.parent.resolve() / file.name: file for file in sorted(found)}
    spins = {place.parent / plain_name(spin_cube(place)) for place in single if is_cube(place)}
    places = {place for place in single if place.parent / plain_name(place) not in spins}
    if not places:
        raise DataError(f"{', '.join(map(str, paths))}: no CHGCAR, CHGCAR*.gz or *.cube there")
    return [single[place] for place in sorted(places, key=_by_number)]


def _is_density(path: Path) -> bool:
    packed = is_packed(path) and ("CHGCAR" in path.name or ".cube" in path.name)
    return (packed or is_cube(path) or (vasp_file(path) or ("",))[0] == "chgcar") and path.is_file()


def _by_number(path: Path) -> list[list[tuple[int, str]]]:
    """Sort key: folder by folder, and CHGCAR.9.gz before CHGCAR.10.gz."""
    names = (str(path.parent), path.name)
    return [[(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", name)] for name in names]


def _keyed(files: Iterable[Path], config_id: str | None, taken: Iterable[str]) -> Iterator[tuple[str, Path]]:
    used = [split_key(key) for key in taken]
    if config_id is not None:
        first = 1 + max((step for name, step in used if name == _safe(config_id)), default=-1)
        yield from ((density_key(_safe(config_id), first + step), file) for step, file in enumerate(files))
        return
    names = {name for name, _ in used}
    for folder, members in groupby(files, key=lambda file: file.parent.resolve()):
        name = _unique(_safe(folder.name), names)
        names.add(name)
        yield from ((density_key(name, step), file) for step, file in enumerate(members))


def _safe(name: str) -> str:
    """A name of letters, digits, `.`, `_` and `-`, fit for a group of a store."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "densities"


def _unique(name: str, names: set[str]) -> str:
    candidates = (name if count == 1 else f"{name}-{count}" for count in range(1, len(names) + 2))
    return next(candidate for candidate in candidates if candidate not in names)
