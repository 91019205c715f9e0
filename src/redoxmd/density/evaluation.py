"""Normalised mean absolute error of the model for each density."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from ase.data import atomic_numbers

from redoxmd.density.cores import sphere_points
from redoxmd.density.dataset import DensitySet, Entry
from redoxmd.density.grid import nmae_percent
from redoxmd.density.model import DensityModel, EncodedAtoms
from redoxmd.density.sampling import grid_points, points_uniform, values_at
from redoxmd.density.slices import slice_reference
from redoxmd.seeds import derive_rng

POINTS = 20_000
ERROR_COLUMNS = (
    "key",
    "set",
    "nmae_total_percent",
    "nmae_spin_percent",
    "superposition_total_percent",
    "superposition_spin_percent",
)


def density_errors(model: DensityModel, densities: DensitySet, seed: int) -> pd.DataFrame:
    """NMAE = Σ|predicted − reference| / Σ|reference| over random grid points, in percent; one row per density.

    Grid points nearest to nuclei are excluded (see `density.sampling`). The table also holds the NMAE of the superposed
    atoms alone.
    """
    rows = [_row(model, entry, seed) for entry in densities.entries]
    return pd.DataFrame(rows, columns=list(ERROR_COLUMNS))


def _row(model: DensityModel, entry: Entry, seed: int) -> dict[str, object]:
    density = entry.read()
    index = points_uniform(density, POINTS, derive_rng(seed, "errors", entry.key))
    points, reference = grid_points(density, index), values_at(density, index)
    values = EncodedAtoms(model, density.atoms).density_and_superposition_at(points)
    errors = [nmae_percent(predicted, reference) for predicted in values]
    return dict(zip(ERROR_COLUMNS, [entry.key, entry.set, *errors[0], *errors[1]], strict=True))


def slices_through_redox(model: DensityModel, densities: DensitySet, redox_element: str) -> dict[str, Any]:
    """Slices of reference and model density in a plane through the redox atom with the smallest moment.

    The density is the first of the test set, else of the validation set, else of the training set; {} is returned if it
    has no atom of the element.
    """
    entry = next(entry for name in ("test", "validation", "train") for entry in densities.subset(name).entries)
    density = entry.read()
    redox = np.flatnonzero(density.numbers == atomic_numbers[redox_element])
    if not len(redox):
        return {}
    spheres = [sphere_points(density.shape, density.cell_A, density.positions_A[atom], 1.0)[0] for atom in redox]
    moments = [abs(values_at(density, index)[:, 1].sum()) for index in spheres]
    centre = int(redox[int(np.argmin(moments))])
    title = f"{entry.key} ({entry.set}), {redox_element} {centre}"
    return slice_reference(density, centre, EncodedAtoms(model, density.atoms).density_at, title)


def evaluation_subset(densities: DensitySet, limit: int, seed: int) -> DensitySet:
    """All validation and test densities and at most `limit` training densities, chosen at random with a seed."""
    training = densities.subset("train").entries
    chosen = sorted(derive_rng(seed, "evaluation").permutation(len(training))[:limit].tolist())
    return DensitySet((*(training[i] for i in chosen), *densities.subset("validation", "test").entries))
