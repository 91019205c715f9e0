"""Compute charges outside the workflow: for the densities of a trained model and along a user's trajectory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from redoxmd.charges.oxidation import OxidationStates, fit_record
from redoxmd.charges.redox import oxidation_table
from redoxmd.charges.tables import reference_charges, trajectory_charges
from redoxmd.density.dataset import DensitySet
from redoxmd.density.model import load_density_model
from redoxmd.density.session import as_trajectory, config_or_defaults, log_to_terminal
from redoxmd.files.hdf5 import write_dataset
from redoxmd.files.records import atomic_path, file_sha256, read_json, write_json
from redoxmd.jobs.checkpoint import Checkpoint


def charges_of_reference(folder: Path, config: Path | None) -> str:
    """Write reference.csv and oxidation.json into the folder of `redoxmd density train`; returns a summary."""
    log_to_terminal()
    settings = config_or_defaults(config)
    model, _ = load_density_model(folder / "model.pt")
    index = DensitySet.from_record(read_json(folder / "dataset.json"))
    table = reference_charges(model, index, settings.charges.spacing_A)
    with atomic_path(folder / "reference.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    redox = table[table["element"] == settings.structures.redox_element]
    record = fit_record(redox, settings.charges.states)
    write_json(folder / "oxidation.json", record)
    return str(record["summary"])


def charges_along(
    folder: Path, frames: Path, target: Path, config: Path | None, every: int, frame_fs: float | None
) -> str:
    """Write the charges of a trajectory as NetCDF, with oxidation states if the folder has a fitted oxidation.json."""
    log_to_terminal()
    settings = config_or_defaults(config)
    model, _ = load_density_model(folder / "model.pt")
    trajectory = as_trajectory(frames, frame_fs)
    chosen = np.arange(0, len(trajectory.time_fs), every)
    inputs = [file_sha256(frames), file_sha256(folder / "model.pt"), settings.charges.model_dump(mode="json"), every]
    checkpoint = Checkpoint(target.with_suffix(".state"), inputs)
    table = trajectory_charges(trajectory, chosen, model, settings.charges, settings.structures, checkpoint)
    fit = folder / "oxidation.json"
    states_model = OxidationStates.read(fit).predicted if fit.exists() else None
    if states_model is not None or "oxidation" in table:
        table = oxidation_table(table, states_model, settings.structures, settings.charges)
    write_dataset(target, table)
    checkpoint.clear()
    states = "with oxidation states" if "state" in table else "without oxidation states (no fitted oxidation.json)"
    return f"{len(chosen)} frames in {target}, {states}"
