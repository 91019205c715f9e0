"""How good the model is, density by density: normalised mean absolute errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from ase.data import atomic_numbers

from redoxmd.density.cores import sphere_points
from redoxmd.density.dataset import DensitySet, Entry
from redoxmd.density.grid import nmae_percent
from redoxmd.density.model import DensityModel, EncodedAtoms
from redoxmd.density.probes import AtomImages
from redoxmd.density.sampling import grid_points, points_uniform, values_at
from redoxmd.density.slices import slice_reference
from redoxmd.density.store import read_density
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

    Points nearest to nuclei are left out (see `density.sampling`); beside it the NMAE of the superposed atoms alone.
    """
    rows = [_row(model, entry, seed) for entry in densities.entries]
    return pd.DataFrame(rows, columns=list(ERROR_COLUMNS))


def _row(model: DensityModel, entry: Entry, seed: int) -> dict[str, object]:
    density = read_density(entry.store, entry.key)
    index = points_uniform(density, POINTS, derive_rng(seed, "errors", entry.key))
    points, reference = grid_points(density, index), values_at(density, index)
    encoded = EncodedAtoms(model, density.atoms)
    images = AtomImages(density.positions_A, density.cell_A, model.superposition.cutoff_A)
    chunks = np.array_split(points, max(1, len(points) // 1000))
    superposed = np.concatenate([model.superposition.at(chunk, images, encoded.species) for chunk in chunks])
    errors = [nmae_percent(values, reference) for values in (encoded.at(points), superposed)]
    return dict(zip(ERROR_COLUMNS, [entry.key, entry.set, *errors[0], *errors[1]], strict=True))


def slices_through_redox(model: DensityModel, densities: DensitySet, redox_element: str) -> dict[str, Any]:
    """Reference and model in a plane through the redox atom of least moment, of a density never trained on.

    The first test density, or validation, or training where there is no other; {} without an atom of the element.
    """
    entry = next(entry for name in ("test", "validation", "train") for entry in densities.part(name).entries)
    density = read_density(entry.store, entry.key)
    redox = np.flatnonzero(density.numbers == atomic_numbers[redox_element])
    if not len(redox):
        return {}
    around = [sphere_points(density.shape, density.cell_A, density.positions_A[atom], 1.0)[0] for atom in redox]
    moments = [abs(values_at(density, index)[:, 1].sum()) for index in around]
    centre = int(redox[int(np.argmin(moments))])
    title = f"{entry.key} ({entry.set}), {redox_element} {centre}"
    return slice_reference(density, centre, EncodedAtoms(model, density.atoms).at, title)


def few_of_training(densities: DensitySet, limit: int, seed: int) -> DensitySet:
    """All validation and test densities and a seeded choice of the training ones."""
    training = densities.part("train").entries
    keep = sorted(derive_rng(seed, "evaluation").permutation(len(training))[:limit].tolist())
    return DensitySet((*(training[i] for i in keep), *densities.part("validation", "test").entries))
