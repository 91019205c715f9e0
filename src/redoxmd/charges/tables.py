"""Bader charges of reference densities and of the density model, and charges along a trajectory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from ase.data import atomic_numbers, chemical_symbols

from redoxmd.charges.bader import partition
from redoxmd.config.sections import Charges, Structures
from redoxmd.density.cores import repair_nuclei
from redoxmd.density.dataset import DensitySet
from redoxmd.density.model import DensityModel
from redoxmd.density.predict import Region, grid_shape, predict_density
from redoxmd.files.trajectory import HOP_COLUMNS, Trajectory
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.interrupt import StopRequest
from redoxmd.jobs.progress import Progress
from redoxmd.jobs.resumable import run_resumable
from redoxmd.structures.build import initial_moments


def reference_charges(model: DensityModel, densities: DensitySet, spacing_A: float) -> pd.DataFrame:
    """Bader charges and moments of every atom from the reference density and from the predicted density.

    The prediction has its own grid. The reference is corrected at the nuclei first (`density.cores`). One row per atom:
    set, key, atom, element, reference_charge_e, predicted_charge_e, reference_moment_muB, predicted_moment_muB.
    """
    tables = []
    progress = Progress("charges of reference densities", len(densities), unit="densities")
    sets = [entry.set for entry in densities.entries]
    for number, (name, (key, density)) in enumerate(zip(sets, densities.items(), strict=True)):
        atoms = density.atoms
        predicted = partition(predict_density(model, atoms, grid_shape(density.cell_A, spacing_A)))
        reference = partition(repair_nuclei(density, model.superposition))
        table = {
            "set": name,
            "key": key,
            "atom": np.arange(len(atoms)),
            "element": atoms.get_chemical_symbols(),
            "reference_charge_e": reference.charge_e,
            "predicted_charge_e": predicted.charge_e,
            "reference_moment_muB": reference.moment_muB,
            "predicted_moment_muB": predicted.moment_muB,
        }
        tables.append(pd.DataFrame(table))
        progress.update(number + 1)
    return pd.concat(tables, ignore_index=True)


def frames_to_charge(time_fs: np.ndarray, jump_time_fs: np.ndarray, settings: Charges) -> np.ndarray:
    """Indices of the frames to charge: one every `every_fs`, and all frames around up to `max_jumps` jumps."""
    chosen = np.zeros(len(time_fs), dtype=bool)
    if settings.every_fs > 0 and len(time_fs) > 1:
        interval = float(time_fs[1] - time_fs[0])
        chosen[:: max(1, round(settings.every_fs / interval))] = True
    times = np.sort(jump_time_fs)
    if settings.max_jumps and len(times):
        chosen_jumps = np.unique(
            np.linspace(0, len(times) - 1, min(settings.max_jumps, len(times))).round().astype(int)
        )
        for time in times[chosen_jumps]:
            chosen |= np.abs(time_fs - time) <= settings.jump_window_fs
    return np.flatnonzero(chosen)


def trajectory_charges(
    trajectory: Trajectory,
    frames: Sequence[int] | np.ndarray,
    model: DensityModel,
    settings: Charges,
    structures: Structures,
    checkpoint: Checkpoint,
) -> xr.Dataset:
    """Bader charge and moment of every atom in the chosen frames of a trajectory, from predicted densities.

    With `settings.region_radius_A`, only the redox element has values: those of other elements would be the values of
    superposed atoms. No grid is stored; an interrupted run continues from its last save, at most a minute ago.

    Returns:
        dims (frame, atom, axis): charge_e, moment_muB, positions_A; coords time_fs, step, number, x, temperature_K,
        replica. If the trajectory has oxidation states also oxidation (frame, atom), and the hops that the MD recorded:
        md_hops (hop, column), columns `files.trajectory.HOP_COLUMNS`.
    """
    frames, numbers = np.asarray(frames, dtype=int), trajectory.numbers
    redox = numbers == atomic_numbers[structures.redox_element]
    shape, radius_A = grid_shape(trajectory.cell_A, settings.spacing_A), settings.region_radius_A
    region = None if radius_A is None else Region(np.flatnonzero(redox), radius_A)
    values = np.full((len(frames), len(numbers), 2), np.nan)
    saved = checkpoint.load("charges")
    done = 0 if saved is None else int(saved["done"])
    if saved is not None:
        values[:done] = saved["values"]
    progress = Progress("charges", len(frames), done=done, unit="frames")

    def partition_frames(stop: StopRequest) -> Iterator[str]:
        nonlocal done
        yield f"at frame {done} of {len(frames)}"
        while done < len(frames):
            atoms = trajectory.frame(int(frames[done]))
            moment = float(initial_moments(atoms, structures).sum()) if settings.exact_moment else None
            bader = partition(predict_density(model, atoms, shape, region, moment_muB=moment))
            in_region = redox if region is not None else slice(None)
            values[done, in_region] = np.stack([bader.charge_e, bader.moment_muB], axis=1)[in_region]
            done += 1
            progress.update(done)
            yield f"at frame {done} of {len(frames)}"

    run_resumable(
        partition_frames, lambda: checkpoint.save("charges", {"done": np.asarray(done), "values": values[:done]})
    )
    metadata, states = trajectory.metadata, {}
    if trajectory.oxidation is not None:
        states["oxidation"] = (("frame", "atom"), trajectory.oxidation[frames], {"units": "e"})
    if trajectory.hops is not None:
        states["md_hops"] = (("hop", "column"), trajectory.hops, {"columns": " ".join(HOP_COLUMNS)})
    dataset = xr.Dataset(
        {
            "charge_e": (("frame", "atom"), values[..., 0], {"units": "e"}),
            "moment_muB": (("frame", "atom"), values[..., 1], {"units": "mu_B"}),
            "positions_A": (("frame", "atom", "axis"), trajectory.positions_A[frames], {"units": "angstrom"}),
            "cell_A": (("vector", "axis"), trajectory.cell_A, {"units": "angstrom"}),
            **states,
        },
        coords={
            "time_fs": ("frame", trajectory.time_fs[frames], {"units": "fs"}),
            "step": ("frame", trajectory.steps[frames]),
            "number": ("atom", numbers),
            **{key: metadata.get(key, np.nan) for key in ("x", "temperature_K", "replica")},
        },
    )
    dataset.attrs = {key: str(metadata[key]) for key in ("structure", "model") if key in metadata}
    dataset.attrs["elements"] = " ".join(chemical_symbols[z] for z in sorted(set(numbers.tolist())))
    return dataset
