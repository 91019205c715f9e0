"""Store of many densities in one chunked HDF5 file, written atomically."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np

from redoxmd.density.grid import Density
from redoxmd.errors import DataError
from redoxmd.files.hdf5 import hdf5_file, read_hdf5

# A group per density, config_id/stepNNNNN. Datasets: total, spin (nx, ny, nz) e/Å³; cell (3, 3) Å; positions (n, 3) Å;
# numbers, valence (n,); where they are known moments (n,) μB and oxidation (n,). Attributes: electrons [e],
# moment_muB [μB], correction, source, checksum (`density_checksum`).
SCALARS = ("electrons", "moment_muB", "correction", "source")
STORE = "density store"
GRIDS = {"total": "total_e_A3", "spin": "spin_e_A3"}
GEOMETRY = {"cell": "cell_A", "positions": "positions_A", "numbers": "numbers", "valence": "valence_e"}
STATES = {"moments": "moments_muB", "oxidation": "oxidation"}


def density_key(config_id: str, step: int) -> str:
    """Key of the density of a frame in a store."""
    return f"{config_id}/step{step:05d}"


def split_key(key: str) -> tuple[str, int]:
    """Configuration and step of a key.

    Raises:
        DataError: the key does not have the form of `density_key`.
    """
    config_id, _, step = key.rpartition("/step")
    if not config_id or not step.isdigit():
        raise DataError(f"{key}: not the key of a density; a valid key is x2.50_o0/step00004")
    return config_id, int(step)


def is_named(key: str, names: Collection[str]) -> bool:
    """Whether names of configurations, or of frames as CONFIG_ID/STEP, contain the density of a key."""
    config_id, step = split_key(key)
    return config_id in names or f"{config_id}/{step}" in names


def write_densities(path: str | Path, densities: Mapping[str, Density] | Iterable[tuple[str, Density]]) -> None:
    """Write a store with one group per key and compressed float32 grids; without densities the store is empty.

    Pairs may come from a generator, so that only one density is in memory at a time.
    """
    pairs = densities.items() if isinstance(densities, Mapping) else densities
    with hdf5_file(path) as file:
        for key, density in pairs:
            _write(file.create_group(key), density)
            file.check()


def _write(group: h5py.Group, density: Density) -> None:
    for name, attribute in GRIDS.items():
        grid = getattr(density, attribute).astype(np.float32)
        stored = group.create_dataset(
            name, data=grid, chunks=_chunk(grid.shape), compression="gzip", compression_opts=4, shuffle=True
        )
        stored.attrs["unit"] = "e/Angstrom^3"
    for name, attribute in (GEOMETRY | STATES).items():
        if (values := getattr(density, attribute)) is not None:
            group[name] = values
    for name in SCALARS:
        group.attrs[name] = getattr(density, name)
    group.attrs["checksum"] = density_checksum(density)


def _chunk(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Chunk shape of about 100 000 points: compresses well, and a slice along x reads one chunk."""
    return (max(1, min(shape[0], 100_000 // (shape[1] * shape[2]))), shape[1], shape[2])


def density_checksum(density: Density) -> str:
    """SHA-256 of the grids in single precision, the geometry and the states, which `read_density` verifies."""
    digest = hashlib.sha256()
    for attribute in GRIDS.values():
        digest.update(np.ascontiguousarray(getattr(density, attribute), dtype="<f4").tobytes())
    geometry = (("cell_A", "<f8"), ("positions_A", "<f8"), ("numbers", "<i8"))
    for attribute, kind in (*geometry, ("moments_muB", "<f8"), ("oxidation", "<i8")):
        if (values := getattr(density, attribute)) is not None:
            digest.update(np.ascontiguousarray(values, dtype=kind).tobytes())
    return digest.hexdigest()


def join_densities(path: str | Path, stores: Iterable[Path], only: Collection[str] | None = None) -> None:
    """Copy stores, or only the densities with the keys `only`, into one store without reading a grid into memory.

    Raises:
        DataError: a store is not readable, or a key is in two stores.
    """
    with hdf5_file(path) as joined:
        for store in stores:
            keys = density_keys(store)
            with read_hdf5(store, STORE) as file:
                for key in keys:
                    if only is not None and key not in only:
                        continue
                    if key in joined:
                        raise DataError(f"{store}: density {key} is already in another store; leave one out")
                    parent = joined.require_group(key.rpartition("/")[0])
                    file.copy(key, parent)
                    joined.check()


def density_keys(path: str | Path) -> list[str]:
    """Sorted keys of a store.

    Raises:
        DataError: the file is missing or no HDF5 file.
    """
    keys: list[str] = []

    def collect(key: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Group) and "total" in item:
            keys.append(key)

    with read_hdf5(path, STORE) as file:
        file.visititems(collect)
    return sorted(keys)


def read_density(path: str | Path, key: str) -> Density:
    """Read one density of a store and verify its checksum.

    Raises:
        DataError: the file or the density is missing, truncated or incomplete, or differs from its checksum.
    """
    with read_hdf5(path, STORE) as file:
        group = file[key]
        arrays = {attribute: group[name][()] for name, attribute in (GRIDS | GEOMETRY).items()}
        arrays |= {attribute: group[name][()] for name, attribute in STATES.items() if name in group}
        attributes = dict(group.attrs)
        density = Density(
            **arrays,
            electrons=float(attributes["electrons"]),
            moment_muB=float(attributes["moment_muB"]),
            correction=float(attributes["correction"]),
            source=str(attributes["source"]),
        )
        checksum = str(attributes["checksum"])
    if checksum != density_checksum(density):
        raise DataError(f"{path}: density {key} differs from its checksum; delete the file and run again")
    return density


def read_densities(path: str | Path) -> dict[str, Density]:
    """Read all densities of a store; see `read_density`."""
    return {key: read_density(path, key) for key in density_keys(path)}
