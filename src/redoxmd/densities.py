"""Densities in one chunked HDF5 file, whole or absent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np

from redoxmd.engines.base import Density
from redoxmd.errors import DataError
from redoxmd.records import atomic_path

# total, spin: (nx, ny, nz) e/Å³; cell: (3, 3) Å; positions: (n, 3) Å; numbers: (n,).
# Attributes: electrons [e], moment [μB], correction, source.
SCALARS = ("electrons", "moment_muB", "correction", "source")


def write_densities(path: str | Path, densities: Mapping[str, Density]) -> None:
    """Write a store: one group per key, float32 grids, compressed; none gives an empty store."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        for key, density in densities.items():
            group = file.create_group(key)
            for name, grid in (("total", density.total_e_A3), ("spin", density.spin_e_A3)):
                stored = group.create_dataset(
                    name,
                    data=grid.astype(np.float32),
                    chunks=True,
                    compression="gzip",
                    compression_opts=4,
                    shuffle=True,
                )
                stored.attrs["unit"] = "e/Angstrom^3"
            group["cell"], group["positions"], group["numbers"] = density.cell_A, density.positions_A, density.numbers
            for name in SCALARS:
                group.attrs[name] = getattr(density, name)


def join_densities(path: str | Path, parts: Iterable[Path]) -> None:
    """Copy stores into one without reading a grid into memory."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as joined:
        for part in parts:
            with h5py.File(part, "r") as file:
                for config_id, group in file.items():
                    for step in group:
                        file.copy(f"{config_id}/{step}", joined.require_group(config_id))


def read_densities(path: str | Path) -> dict[str, Density]:
    """Read a whole store.

    Raises:
        DataError: the file is missing, truncated or lacks a part.
    """
    found: dict[str, Density] = {}
    try:
        with h5py.File(path, "r") as file:
            file.visititems(lambda key, item: _collect(found, key, item))
    except (OSError, KeyError, RuntimeError) as error:
        raise DataError(f"{path}: not a readable density store ({error}); delete it and run again") from error
    return found


def _collect(found: dict[str, Density], key: str, item: h5py.Group | h5py.Dataset) -> None:
    if not (isinstance(item, h5py.Group) and "total" in item):
        return
    attributes = item.attrs
    found[key] = Density(
        total_e_A3=item["total"][()],
        spin_e_A3=item["spin"][()],
        cell_A=item["cell"][()],
        positions_A=item["positions"][()],
        numbers=item["numbers"][()],
        electrons=float(attributes["electrons"]),
        moment_muB=float(attributes["moment_muB"]),
        correction=float(attributes["correction"]),
        source=str(attributes["source"]),
    )
