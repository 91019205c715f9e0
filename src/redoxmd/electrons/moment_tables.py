"""Tables of the moment network: its errors on labelled frames, its agreement with trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import xarray as xr

from redoxmd.charges.hops import finite_mean
from redoxmd.diffusion.site_tables import trajectory_columns

FRAME_KEYS = ["set", "config_id", "step"]
ATOM_COLUMNS = (
    *("set", "config_id", "step", "atom", "element", "moment_muB", "network_muB"),
    *("state", "network_state", "bonds_state"),
)
# Ways to the states of a frame: the moment network, and the order of bond valences (`electrons.search.guess_order`).
METHODS = ("network", "bonds")
COUNTS = [
    "n_frames",
    "n_atoms",
    *(f"{kind}_{name}" for name in METHODS for kind in ("atoms", "frames")),
    "atoms_chance",
]


def moment_errors(atoms: pd.DataFrame) -> pd.DataFrame:
    """Numbers of redox atoms and frames in the state of the reference, one row per set and configuration.

    Args:
        atoms: columns `ATOM_COLUMNS`.

    Returns:
        Columns set, config_id, choice, `COUNTS` and moment_mae_muB. `choice`: atoms of one element are in different
        states, so that neutrality alone does not determine them. `atoms_NAME`, `frames_NAME`: numbers of atoms, and of
        frames with all their atoms, in the state of the reference, by the network and by bond valences;
        `atoms_chance`: expected number of atoms for a random order of the states.
    """
    frames = [dict(zip(FRAME_KEYS, key, strict=True)) | _frame_counts(rows) for key, rows in atoms.groupby(FRAME_KEYS)]
    return _add_frames(pd.DataFrame(frames), ["set", "config_id", "choice"])


def pool_configurations(errors: pd.DataFrame) -> pd.DataFrame:
    """Rows of `moment_errors` added over the configurations of a set, those with and without a choice separately."""
    return _add_frames(errors.assign(error_muB=errors["moment_mae_muB"] * errors["n_atoms"]), ["set", "choice"])


def _frame_counts(rows: pd.DataFrame) -> dict[str, Any]:
    """Counts of a frame from the rows of its redox atoms."""
    totals, counts = (rows.groupby(keys).size() for keys in ("element", ["element", "state"]))
    counted: dict[str, Any] = {"choice": len(counts) > len(totals), "n_frames": 1, "n_atoms": len(rows)}
    for name in METHODS:
        right = rows[f"{name}_state"] == rows["state"]
        counted |= {f"atoms_{name}": int(right.sum()), f"frames_{name}": int(right.all())}
    counted["atoms_chance"] = float((counts**2).div(totals, level="element").sum())
    return counted | {"error_muB": float((rows["network_muB"] - rows["moment_muB"]).abs().sum())}


def _add_frames(counts: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    sums = counts.groupby(keys)[[*COUNTS, "error_muB"]].sum()
    sums["moment_mae_muB"] = sums.pop("error_muB") / sums["n_atoms"]
    return sums.reset_index()


def trajectory_agreement(checks: Sequence[xr.Dataset]) -> pd.DataFrame:
    """Shares of redox atoms and of frames in the same state by trajectory and network, one row per trajectory.

    Args:
        checks: results of `check_trajectory`.

    Returns:
        Columns structure, x, temperature_K, replica, choice, n_frames, n_redox, atoms_share, frames_share (all atoms of
        a frame agree) and moment_error_muB, mean over frames; NaN without frames.
    """
    rows = []
    for check in checks:
        n_redox = check["n_redox"].item()
        rows.append(
            trajectory_columns(check)
            | {"choice": bool(check["choice"]), "n_frames": check.sizes["frame"], "n_redox": n_redox}
            | {"atoms_share": finite_mean(check["n_agree"].to_numpy() / n_redox)}
            | {"frames_share": finite_mean(check["n_agree"].to_numpy() == n_redox)}
            | {"moment_error_muB": finite_mean(check["moment_error_muB"].to_numpy())}
        )
    return pd.DataFrame(rows)
