"""Fig. 6: concerted and single jumps by temperature, with the chance level."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.diffusion.counting import share_interval
from redoxmd.figures.style import COLOURS, label, legend, new_figure, with_figure_style, write_message

OFFSET = 0.2


@with_figure_style
def draw(table: pd.DataFrame, settings: Figures, window_ps: float) -> Figure:
    """Draw numbers of jumps by the distance rule (a), and shares of concerted jumps with their chance levels (b).

    The shares of jumps between sites have the same denominator, and each contains the next: within the window, with a
    neighbour, in an exchange. The second share is omitted if all sites are neighbours.

    Args:
        table: temperature_K, n_jumps, n_concerted; n_site_jumps, n_sites_concerted, n_neighbouring, n_exchanges; chance
            levels with the suffix _chance.
        window_ps: time window of concerted jumps, for the legend.
    """
    window = f"{window_ps:g} ps"
    figure, axes = new_figure(settings, 1, 2, height_ratio=0.45, width=2.0)
    positions = np.arange(len(table))
    counts, share = axes[0]
    concerted, single = table["n_concerted"], table["n_jumps"] - table["n_concerted"]
    counts.bar(positions, concerted, color=COLOURS[0], label="concerted")
    counts.bar(positions, single, bottom=concerted, color=COLOURS[1], label="single")
    label(counts, "temperature (K)", "jumps by the distance rule", "a")
    counts.set_ylim(0, 1.3 * max(1.0, float(table["n_jumps"].max()) if len(table) else 1.0))
    legend(counts)
    all_neighbours = bool((table["n_sites_concerted"] == table["n_neighbouring"]).all())
    within = f"between sites, within {window}" + (" (all sites are neighbours)" if all_neighbours else "")
    series = [
        ("n_concerted", "n_jumps", 1, "o", f"distance rule, within {window}"),
        ("n_sites_concerted", "n_site_jumps", 1, "s", within),
        ("n_neighbouring", "n_site_jumps", 1, "D", "between sites, with a neighbour"),
        ("n_exchanges", "n_site_jumps", 2, "^", "between sites, in an exchange"),
    ]
    series = [line for line in series if line[0] != "n_neighbouring" or not all_neighbours]
    for number, (count, jumps, members, marker, text) in enumerate(series):
        # Temperatures without jumps have no share.
        with_jumps = (table[jumps] > 0).to_numpy()
        if not with_jumps.any():
            continue
        columns = (table[jumps], members * table[count], members * table[f"{count}_chance"])
        total, together, chance = (column.to_numpy(dtype=float)[with_jumps] for column in columns)
        places = (positions + OFFSET * (number - (len(series) - 1) / 2))[with_jumps]
        value, (low, high) = together / total, share_interval(together, total)
        bars = np.clip([value - low, high - value], 0, None)
        share.errorbar(places, value, bars, fmt=marker, color=COLOURS[number], capsize=2)
        share.plot([], [], marker, color=COLOURS[number], label=text)
        share.plot(places, chance / total, "_", color="black", markersize=10)
    share.plot([], [], "_", color="black", markersize=10, label="the same jumps at random times")
    share.plot([], [], "|", color="black", markersize=7, label="bars: 95 % intervals")
    # Room for whole symbols at shares of 0 and 1.
    share.set_ylim(-0.04, 1.04)
    label(share, "temperature (K)", "share of the jumps", "b")
    legend(share, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    for axis in axes.flat:
        axis.set_xticks(positions, [f"{kelvin:g}" for kelvin in table["temperature_K"]])
        axis.set_xlim(-0.6, max(len(table) - 0.4, 0.6))
    if not (table["n_jumps"] > 0).any():
        write_message(share, "no jump in any trajectory")
    return figure
