"""Fig. 6: concerted and single jumps by temperature, with the chance level."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.diffusion.counting import share_interval
from redoxmd.figures.style import COLOURS, in_style, label, legend, new_figure, say

ASIDE = 0.2


@in_style
def draw(table: pd.DataFrame, settings: Figures, window_ps: float | None = None) -> Figure:
    """Numbers of jumps by the distance rule (a); shares by that rule, and of jumps between sites, beside chance (b).

    The shares of jumps between sites have one denominator, so that each is part of the one before: within the window,
    with a neighbour, in an exchange. The second is left out where every pair of sites is a pair of neighbours.

    Args:
        table: temperature_K, n_jumps, n_concerted; n_site_jumps, n_sites_concerted, n_neighbouring, n_exchanges; of the
            last four _chance as well.
        settings: look.
        window_ps: within which jumps are concerted, for the legend.
    """
    window = "the window" if window_ps is None else f"{window_ps:g} ps"
    figure, axes = new_figure(settings, 1, 2, height_ratio=0.45, width=2.0)
    place = np.arange(len(table))
    counts, share = axes[0]
    counts.bar(place, table["n_concerted"], color=COLOURS[0], label="concerted")
    counts.bar(
        place, table["n_jumps"] - table["n_concerted"], bottom=table["n_concerted"], color=COLOURS[1], label="single"
    )
    label(counts, settings, "temperature (K)", "jumps by the distance rule", "a")
    counts.set_ylim(0, 1.3 * max(1.0, float(table["n_jumps"].max()) if len(table) else 1.0))
    legend(counts, settings)
    all_neighbours = bool((table["n_sites_concerted"] == table["n_neighbouring"]).all())
    within = f"between sites, within {window}" + (" (all sites are neighbours)" if all_neighbours else "")
    shown = [
        ("n_concerted", "n_jumps", 1, "o", f"distance rule, within {window}"),
        ("n_sites_concerted", "n_site_jumps", 1, "s", within),
        ("n_neighbouring", "n_site_jumps", 1, "D", "between sites, with a neighbour"),
        ("n_exchanges", "n_site_jumps", 2, "^", "between sites, in an exchange"),
    ]
    shown = [line for line in shown if line[0] != "n_neighbouring" or not all_neighbours]
    for number, (count, of, members, marker, text) in enumerate(shown):
        columns = (members * table[count], members * table[f"{count}_chance"], table[of])
        _share(share, place + ASIDE * (number - (len(shown) - 1) / 2), columns, marker, COLOURS[number], text)
    share.plot([], [], "_", color="black", markersize=10, label="the same jumps at random times")
    share.plot([], [], "|", color="black", markersize=7, label="bars: 95 % intervals")
    share.set_ylim(0, 1.05)
    label(share, settings, "temperature (K)", "share of the jumps", "b")
    legend(share, settings, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    for axis in axes.flat:
        axis.set_xticks(place, [f"{kelvin:g}" for kelvin in table["temperature_K"]])
        axis.set_xlim(-0.6, max(len(table) - 0.4, 0.6))
    if not (table["n_jumps"] > 0).any():
        say(share, settings, "no jump in any trajectory")
    return figure


def _share(
    axis: Axes, place: np.ndarray, columns: tuple[pd.Series, pd.Series, pd.Series], marker: str, colour: str, text: str
) -> None:
    """Shares with their intervals and those by chance; temperatures without jumps have none."""
    count, chance, total = (column.to_numpy(dtype=float) for column in columns)
    there = total > 0
    if not there.any():
        return
    count, chance, total, place = count[there], chance[there], total[there], place[there]
    share, (low, high) = count / total, share_interval(count, total)
    axis.errorbar(place, share, np.clip([share - low, high - share], 0, None), fmt=marker, color=colour, capsize=2)
    axis.plot([], [], marker, color=colour, label=text)
    axis.plot(place, chance / total, "_", color="black", markersize=10)
