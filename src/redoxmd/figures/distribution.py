"""Distributions as histograms, or as single values if there are few."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

# Below this number of values a histogram shows its bins rather than the distribution.
FEW = 30
HEIGHT = 0.5


def plot_distribution(axis: Axes, values: dict[str, np.ndarray], colours: Mapping[str, str], unit: str) -> str:
    """Draw the distribution of each set of values; returns the label of the vertical axis.

    With fewer than `FEW` values in any set, every value is a dot in the row of its set, and a line marks the mean.
    """
    if min(len(of_set) for of_set in values.values()) < FEW:
        for row, (name, of_set) in enumerate(reversed(values.items())):
            # A fixed sequence of heights separates equal values.
            height = row + HEIGHT * ((np.arange(len(of_set)) * 0.618) % 1.0 - 0.5)
            axis.plot(of_set, height, "o", markersize=3, alpha=0.7, color=colours[name], markeredgewidth=0)
            mean = float(np.mean(of_set))
            axis.plot([mean, mean], [row - 0.35, row + 0.35], color=colours[name], linewidth=1.2)
        axis.set_yticks(range(len(values)), [f"{name}\nn = {len(of_set)}" for name, of_set in reversed(values.items())])
        axis.set_ylim(-0.6, len(values) - 0.4)
        return ""
    pooled = np.concatenate(list(values.values()))
    bins = np.linspace(pooled.min(), pooled.max() + 1e-12, min(60, max(12, len(pooled) // 8))).tolist()
    for number, (name, of_set) in enumerate(values.items()):
        style: dict[str, Any] = (
            {"histtype": "step", "linewidth": 1.2} if number else {"histtype": "stepfilled", "alpha": 0.5}
        )
        axis.hist(of_set, bins=bins, density=True, color=colours[name], label=f"{name}, n = {len(of_set)}", **style)
    axis.set_ylim(top=1.5 * axis.get_ylim()[1])
    return f"probability density (1/({unit}))" if "/" in unit else f"probability density (1/{unit})"
