"""Electron hops of a trajectory as a table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from redoxmd.charges.hops import NONE, HopJumps, Hops
from redoxmd.diffusion.jumps import Jumps


def hop_table(
    hops: Hops, relation: HopJumps, jumps: Jumps, redox_atom: np.ndarray, metadata: dict[str, float | str]
) -> pd.DataFrame:
    """One row per hop; see `redox.RedoxAnalysis.hops`."""
    donor, acceptor = (_lookup(side, redox_atom) for side in (hops.donor, hops.acceptor))
    columns = {
        "time_fs": hops.time_fs,
        "donor": donor,
        "acceptor": acceptor,
        **{f"electron_{axis}_A": hops.vector_A[:, d] for d, axis in enumerate("xyz")},
        "electron_A": np.linalg.norm(hops.vector_A, axis=1),
        "jump": _lookup(relation.jump, np.arange(len(jumps))),
        "ion": _lookup(relation.jump, jumps.ion),
        "lag_fs": relation.lag_fs,
        "cosine": relation.cosine,
        "distance_A": relation.distance_A,
    }
    table = pd.DataFrame(columns)
    for position, (name, value) in enumerate(metadata.items()):
        table.insert(position, name, value)
    return table


def _lookup(index: np.ndarray, values: np.ndarray) -> pd.api.extensions.ExtensionArray:
    """Values at indices; missing for an index of −1."""
    valid = index != NONE
    result = pd.array(np.zeros(len(index), dtype=int), dtype="Int64")
    result[valid] = values[index[valid]]
    result[~valid] = pd.NA
    return result
