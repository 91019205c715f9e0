"""Save figures as PDF, SVG and PNG with their data as CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.style import figure_style
from redoxmd.files.records import atomic_path

# Files without dates are identical for identical data.
METADATA = {"pdf": {"CreationDate": None, "ModDate": None}, "svg": {"Date": None}, "png": {"Software": None}}


def save_figure(figure: Figure, data: pd.DataFrame, stem: str | Path, settings: Figures) -> None:
    """Write stem.pdf, stem.svg, stem.png and stem.csv, each atomically."""
    for kind, metadata in METADATA.items():
        with atomic_path(f"{stem}.{kind}") as temporary, figure_style(settings):
            figure.savefig(temporary, format=kind, dpi=settings.dpi, metadata=metadata)
    with atomic_path(f"{stem}.csv") as temporary:
        # The format writes whole numbers without a decimal point; unknown values are empty.
        data.replace([np.inf, -np.inf], np.nan).to_csv(temporary, index=False, float_format="%.8g")
