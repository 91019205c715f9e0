"""Charges, moments and oxidation states of the densities in files and folders of a user; no model is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from ase.data import chemical_symbols

from redoxmd.charges.bader import partition
from redoxmd.charges.oxidation import OxidationModel, assign_states, fit_oxidation
from redoxmd.config.sections import Charges
from redoxmd.density.exchange.archive import find_density_files, read_density_file
from redoxmd.diffusion.sites import NONE
from redoxmd.errors import ConfigError, DensityRefused, OneOxidationState
from redoxmd.units import FS_PER_PS


def charge_files(
    paths: Sequence[str | Path], valence: Mapping[str, float] | None = None, frame_fs: float | None = None
) -> Iterator[tuple[Path, pd.DataFrame | str]]:
    """Each density file with its table, or with the reason of its refusal; in the order of the numbers in the names.

    Columns of a table, one row per atom: frame, time_ps (empty without `frame_fs`), file, atom, element, charge_e,
    moment_muB (empty without spin). A refused file keeps its frame number, so that times stay right.

    Args:
        paths: CHGCAR or cube files and folders, searched recursively: one folder per frame, or names with suffixes.
        valence: valence electrons by element; None: from the OUTCAR, vasprun.xml or POTCAR beside each file.
        frame_fs: time between two files.

    Raises:
        DataError: a path is missing, or no path holds a density.
    """
    numbers: np.ndarray | None = None
    first = ""
    for frame, path in enumerate(find_density_files(paths)):
        try:
            density = read_density_file(path, valence, spin_optional=True)
        except DensityRefused as refusal:
            yield path, str(refusal)
            continue
        if numbers is None:
            numbers, first = density.numbers, str(path)
        if not np.array_equal(density.numbers, numbers):
            yield path, f"{path}: other atoms, or another order, than {first}; analyse each run on its own"
            continue
        atoms = partition(density)
        table = {
            "frame": frame,
            "time_ps": np.nan if frame_fs is None else frame * frame_fs / FS_PER_PS,
            "file": str(path),
            "atom": np.arange(len(numbers)),
            "element": [chemical_symbols[number] for number in numbers],
            "charge_e": atoms.charge_e,
            "moment_muB": atoms.moment_muB if density.spin_e_A3.any() else np.nan,
        }
        yield path, pd.DataFrame(table)


def with_states(
    charges: pd.DataFrame, redox: str, states: tuple[int, int], fixed: Mapping[str, int], settings: Charges
) -> tuple[pd.DataFrame, str]:
    """Charges with oxidation states, and the result in words.

    The states of the redox element are those of a mixture that is fitted to all its charges and moments
    (`oxidation.fit_oxidation`), with hysteresis over the frames; other elements have their fixed oxidation numbers.
    Further columns: state (missing if unknown), probability of the higher state.

    Args:
        charges: tables of `charge_files` as one.
        redox: element.
        states: its lower and higher oxidation state.
        fixed: element → oxidation number.
        settings: thresholds `low` and `high`, and `persistence_fs`, which applies to files with times.

    Raises:
        ConfigError: the element is not in the files.
    """
    rows = charges["element"] == redox
    if not rows.any():
        elements = ", ".join(sorted(set(charges["element"])))
        raise ConfigError(f"--redox {redox}: the files hold {elements}")
    table = charges.assign(
        state=charges["element"].map(dict(fixed)).astype("Int64"), probability=np.full(len(charges), np.nan)
    )
    shape = (charges["frame"].nunique(), -1)
    charge, moment = (charges.loc[rows, name].to_numpy(dtype=float) for name in ("charge_e", "moment_muB"))
    try:
        model = fit_oxidation(charge, np.nan_to_num(moment), states)
    except OneOxidationState as error:
        return table, str(error)
    probability = model.probability(charge, moment).reshape(shape)
    timed = charges["time_ps"].notna().all()
    time_fs = charges["time_ps"].unique() * FS_PER_PS if timed else charges["frame"].unique().astype(float)
    level = assign_states(probability, time_fs, settings.low, settings.high, settings.persistence_fs if timed else 0.0)
    state = pd.Series(np.array(states)[level].ravel(), dtype="Int64").mask(level.ravel() == NONE)
    table.loc[rows, "state"] = state.to_numpy()
    table.loc[rows, "probability"] = probability.ravel()
    return table, _summary(table, model, level, redox)


def _summary(table: pd.DataFrame, model: OxidationModel, level: np.ndarray, redox: str) -> str:
    lower, higher = (
        f"{redox}{state}+ at {' e, '.join(f'{value:.2f}' for value in mean)}"
        for state, mean in zip(model.states, model.mean, strict=True)
    )
    text = f"{lower} and {higher} (charge, |moment|), {model.separation:.1f} σ apart"
    text += f"; {(level == 1).sum() / len(level):.2g} {redox}{model.states[1]}+ per frame"
    text += f", {int((np.diff(level, axis=0) != 0).sum())} changes of state"
    if table["state"].notna().all():
        neutral = int((table.groupby("frame")["state"].sum() == 0).sum())
        text += f"; {neutral} of {len(level)} frames neutral"
    return text


def parse_redox(text: str) -> tuple[str, tuple[int, int]]:
    """Parse `V=3,4`: element, lower and higher oxidation state.

    Raises:
        ConfigError: another form.
    """
    match = re.fullmatch(r"([A-Z][a-z]?)=(\d+),(\d+)", text)
    if match is None or not int(match[2]) < int(match[3]):
        raise ConfigError(f"--redox {text}: not of the form V=3,4 (element, lower and higher oxidation state)")
    return match[1], (int(match[2]), int(match[3]))
