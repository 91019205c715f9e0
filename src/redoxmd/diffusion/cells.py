"""What the size of the cell does to D."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import xarray as xr

from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.analysis import averages
from redoxmd.structures.request import cell_name, parse_name


def by_cell(analyses: Sequence[xr.Dataset], settings: Diffusion) -> pd.DataFrame:
    """D by x and temperature in every cell, as `analysis.Summary.diffusivities`, with a column `supercell` (2x2x1).

    Args:
        analyses: of all trajectories (`analysis.analyse_trajectory`); `structure` among their attributes.
        settings: section `diffusion`.
    """
    cells: dict[tuple[int, ...], list[xr.Dataset]] = {}
    for dataset in analyses:
        cells.setdefault(parse_name(dataset.attrs["structure"]).supercell, []).append(dataset)
    parts = [averages(group, settings)[1].assign(supercell=cell_name(cell)) for cell, group in sorted(cells.items())]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
