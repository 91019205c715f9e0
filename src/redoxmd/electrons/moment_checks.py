"""Oxidation states from the moment network, compared with those of the reference and of trajectories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from ase import Atoms

from redoxmd.config.sections import Moments, Train
from redoxmd.diffusion.site_tables import TRAJECTORY_KEYS
from redoxmd.electrons.moment_tables import ATOM_COLUMNS, FRAME_KEYS
from redoxmd.electrons.moments import MomentNetwork, has_moments, train_moments
from redoxmd.electrons.search import guess_order
from redoxmd.electrons.states import OxidationLevels, assign_oxidation
from redoxmd.errors import DataError
from redoxmd.files.trajectory import Trajectory
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.progress import Progress
from redoxmd.train.cross_validation import without_fold
from redoxmd.train.split import Configuration


def compare_moment_states(network: MomentNetwork, frames: Sequence[Atoms], levels: OxidationLevels) -> pd.DataFrame:
    """Moments and states of the network beside those of the reference, one row per redox atom.

    States are assigned under charge neutrality (`electrons.states.assign_oxidation`), those of the network from its
    moments. A third column has the states by bond valences.

    Args:
        network: trained.
        frames: of a data set, with `info` config_id, step and set, and the array `oxidation`; frames without moments
            are left out.
        levels: of the redox elements.

    Returns:
        Columns `ATOM_COLUMNS`; moments in μB, without sign.
    """
    rows: list[tuple[Any, ...]] = []
    for frame in frames:
        if not has_moments(frame, levels):
            continue
        symbols = list(frame.symbols)
        predicted_muB = network.predict(frame)
        states = (
            frame.arrays["oxidation"],
            assign_oxidation(symbols, predicted_muB, levels).oxidation,
            guess_order(frame, levels),
        )
        info = [frame.info[key] for key in FRAME_KEYS]
        for atom in levels.redox_atoms(symbols).tolist():
            moments_muB = abs(frame.calc.results["magmoms"][atom]), predicted_muB[atom]
            rows.append((*info, atom, symbols[atom], *moments_muB, *(int(state[atom]) for state in states)))
    return pd.DataFrame(rows, columns=list(ATOM_COLUMNS))


def left_out_states(
    frames: Sequence[Atoms],
    configurations: Mapping[str, Configuration],
    train: Train,
    levels: OxidationLevels,
    settings: Moments,
    fold: int,
    seed: int,
    checkpoint: Checkpoint,
) -> pd.DataFrame:
    """Comparison of `compare_moment_states` on a fold of configurations, with a network trained on all others.

    The fold is that of `redoxmd.train.cross_validation.without_fold`, with `settings.folds` folds; the set of its
    frames is left_out. No rows if the fold is empty.

    Args:
        frames, configurations, fold, seed, checkpoint: as in `redoxmd.train.cross_validation.held_out_errors`.
        train: section `train`, `validation_configurations` and `validation_fraction`.
        levels: of the redox elements.
        settings: section `electrons.moments`.
    """
    dataset, fold_frames = without_fold(frames, configurations, train, settings.folds, fold, seed)
    if not fold_frames:
        return pd.DataFrame(columns=list(ATOM_COLUMNS))
    name = f"moments, fold {fold} of {settings.folds}"
    network = train_moments(dataset, levels, settings, seed, checkpoint, name).member
    return compare_moment_states(network, fold_frames, levels).assign(set="left_out")


def check_trajectory(trajectory: Trajectory, network: MomentNetwork, levels: OxidationLevels) -> xr.Dataset:
    """Comparison of the states of a trajectory with those of the moment network in every saved frame.

    Returns:
        dim frame: time_fs; n_agree, number of redox atoms in the same state by both; moment_error_muB, mean difference
        over the redox atoms between the network's |moment| and the level of the atom's state. Scalars n_redox and
        choice (atoms of one element are in different states); coords x, temperature_K, replica.

    Raises:
        DataError: the trajectory has no oxidation states, or one without a level.
    """
    if trajectory.oxidation is None:
        raise DataError(f"{trajectory.source}: no oxidation states; run production with train.states: aware")
    atoms = Atoms(trajectory.numbers, cell=trajectory.cell_A, pbc=True)
    symbols = list(atoms.symbols)
    redox = levels.redox_atoms(symbols)
    states, elements = trajectory.oxidation[:, redox], np.array(symbols)[redox]
    expected_muB = np.full(states.shape, np.nan)
    for element, moments in levels.moments_muB.items():
        for state, moment_muB in moments.items():
            expected_muB[(elements == element) & (states == state)] = moment_muB
    if np.isnan(expected_muB).any():
        raise DataError(f"{trajectory.source}: an oxidation state without a moment; add it to electrons.levels")
    n_agree, error_muB = np.zeros(len(states), dtype=int), np.zeros(len(states))
    progress = Progress(f"moments of {trajectory.metadata['structure']}", len(states), unit="frames")
    for frame, positions_A in enumerate(trajectory.positions_A):
        atoms.positions = positions_A
        moments_muB = network.predict(atoms)
        n_agree[frame] = (assign_oxidation(symbols, moments_muB, levels).oxidation[redox] == states[frame]).sum()
        error_muB[frame] = np.abs(moments_muB[redox] - expected_muB[frame]).mean()
        progress.update(frame + 1)
    # Swaps conserve the number of atoms in each state, so that the first frame shows whether there is a choice.
    choice = len(states) > 0 and len(set(zip(elements, states[0], strict=True))) > len(set(elements))
    return xr.Dataset(
        {
            "time_fs": ("frame", trajectory.time_fs),
            "n_agree": ("frame", n_agree),
            "moment_error_muB": ("frame", error_muB),
            "n_redox": len(redox),
            "choice": choice,
        },
        coords={key: trajectory.metadata[key] for key in TRAJECTORY_KEYS},
        attrs={"structure": trajectory.metadata["structure"]},
    )
