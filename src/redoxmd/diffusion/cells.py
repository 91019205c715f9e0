"""D by size of the simulation cell."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import xarray as xr

from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.analysis import averages
from redoxmd.structures.request import cell_name, parse_name


def diffusivities_by_cell(analyses: Sequence[xr.Dataset], settings: Diffusion) -> pd.DataFrame:
    """D by x, temperature and cell: columns of `analysis.Summary.diffusivities` and `supercell` (2x2x1).

    Args:
        analyses: datasets of all trajectories (`analysis.analyse_trajectory`) with the attribute `structure`.
        settings: section `diffusion`.
    """
    cells: dict[tuple[int, ...], list[xr.Dataset]] = {}
    for dataset in analyses:
        cells.setdefault(parse_name(dataset.attrs["structure"]).supercell, []).append(dataset)
    tables = [averages(group, settings)[1].assign(supercell=cell_name(cell)) for cell, group in sorted(cells.items())]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
