"""Rows of the comparison on diffusion, activation energies, sites and concerted jumps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from redoxmd.basins.orderings import vacancy_costs
from redoxmd.diffusion.counting import count_interval
from redoxmd.paper.measured import NAN, Measured, comparison_row, mean_with_error, select_rows, share_with_interval
from redoxmd.paper.tables import RunTables, cell_size_remark
from redoxmd.units import PS_PER_NS

# Oxygen neighbours of the two kinds of site in NVP, from the literature that the paper cites.
NEIGHBOURS = {"Na1": 6.0, "Na2": 8.0}
# "Close to 1" in the paper is read as 0.9 or more.
NEARLY_FULL = 0.9


def site_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Rows on the kinds of sites, their occupancies and the jumps between them."""
    return [
        *(
            comparison_row(
                "O neighbours of a site", kind, "", (count, count - 0.05, count + 0.05), _neighbours(run, kind)
            )
            for kind, count in NEIGHBOURS.items()
        ),
        comparison_row(
            "ions per preferred site",
            run.preferred_site,
            "",
            (NAN, NEARLY_FULL, NAN),
            _occupancy(run, kind=run.preferred_site),
            "at_least",
        ),
        comparison_row("ions per site", "Na2, x = 3", "", (2 / 3, 0.662, 0.671), _occupancy(run, kind="Na2", x=3.0)),
        comparison_row(
            "share of site jumps between unlike sites",
            "all trajectories",
            "",
            (1.0, 0.995, 1.0),
            _unlike_jumps(run.events),
            "at_least",
        ),
        comparison_row(
            "cost of empty preferred sites",
            "relaxed orderings",
            "meV/f.u.",
            (130.0, 125.0, 135.0),
            _cost_meV_fu(run.orderings),
        ),
    ]


def _of_kind(sites: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Rows of one kind of site; a table without rows has no columns and is returned unchanged."""
    return sites[sites["kind"] == kind] if len(sites) else sites


def _neighbours(run: RunTables, kind: str) -> Measured:
    sites = _of_kind(run.sites, kind)
    if not len(sites):
        return Measured(remark=f"no sites of kind {kind}")
    return Measured(float(sites["coordination"].mean()))


def _occupancy(run: RunTables, kind: str, x: float | None = None) -> Measured:
    sites = _of_kind(run.sites, kind)
    if x is not None:
        sites = select_rows(sites, x=x)
    if not len(sites):
        return Measured(remark=f"no sites of kind {kind}" + ("" if x is None else f" at x = {x:g}"))
    errors = sites["occupancy_error"].to_numpy()
    return Measured(float(sites["occupancy"].mean()), float(np.sqrt((errors**2).sum()) / len(errors)))


def _unlike_jumps(events: pd.DataFrame) -> Measured:
    jumps = events[~events["returned"].astype(bool)] if len(events) else events
    if not len(jumps):
        return Measured(remark="no jump between sites")
    return share_with_interval(int((jumps["from_kind"] != jumps["to_kind"]).sum()), len(jumps))


def _cost_meV_fu(orderings: pd.DataFrame | None) -> Measured:
    """Cost per formula unit of the orderings with the largest share of empty preferred sites.

    The literature that the paper cites (130 meV/f.u., its ref. 33) compares orderings with all preferred sites empty
    and with none empty, for one preferred site per formula unit. Other shares are not comparable: the energy per
    formula unit is smaller in proportion, and the energy of each vacancy need not be the same.
    """
    if orderings is None:
        return Measured(remark="no basin hopping (basins.enabled)")
    costs = vacancy_costs(orderings)
    if costs.empty:
        return Measured(remark="no content with and without empty preferred sites")
    share = costs["empty_share"].max()
    largest = costs[np.isclose(costs["empty_share"], share)]
    cost = mean_with_error(largest["cost_meV_fu"].to_numpy(), "mean over x")
    if share < 1:
        per_site = float((largest["cost_meV_fu"] / largest["empty_share"]).mean())
        partial = f"here {share:.2g} of the sites, there all; {per_site:.0f} meV per empty site"
        return replace(cost, not_comparable=partial)
    return cost


def diffusion_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Rows on diffusion coefficients and jump rates."""
    fast, slow = (_diffusivity(run, x, 600.0) for x in (2.875, 1.25))
    fall = Measured(remark="; ".join(item.remark for item in (fast, slow) if item.remark))
    if fast.value > 0 and slow.value > 0:
        error = np.hypot(fast.error / fast.value, slow.error / slow.value) / np.log(10)
        not_comparable = fast.not_comparable or slow.not_comparable
        fall = Measured(float(np.log10(fast.value / slow.value)), float(error), not_comparable=not_comparable)
    return [
        comparison_row(
            "D, from jumps",
            "x = 2.75, 600 K",
            "cm²/s",
            (2.1e-6, 2.05e-6, 2.15e-6),
            _diffusivity(run, 2.75, 600.0),
        ),
        comparison_row(
            "largest D of all x, from jumps", "600 K", "cm²/s", (2.1e-6, 2.05e-6, 2.15e-6), _largest(run, 600.0)
        ),
        comparison_row("fall of D from x = 2.875 to 1.25", "600 K", "decades", (2.0, 1.5, 2.5), fall),
        # Two jumps in 17 concentrations of three trajectories, 166 ps each; the range is that of a Poisson count.
        comparison_row("jumps", "300 K, all x", "1/ns", (0.24, 0.03, 0.85), _rate(run, 300.0)),
    ]


def activation_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Rows on activation energies by concentration."""
    # "Nearly double" in the paper is read as a factor of 1.6 to 2.
    papers = {2.875: (NAN, 0.23, 0.26), 2.75: (NAN, 0.23, 0.26), 2.25: (NAN, 0.37, 0.52), 2.125: (NAN, 0.37, 0.52)}
    # NEB with DFT, from the literature that the paper compares with.
    papers[3.0] = (0.304, 0.3035, 0.3045)
    rows = []
    for x, paper in papers.items():
        fits = select_rows(run.arrhenius, x=x)
        if not len(fits):
            ours = Measured(remark=f"x = {x:g} not in this run")
        elif not fits.iloc[0]["fitted"]:
            ours = Measured(remark=str(fits.iloc[0]["reason"]))
        else:
            Ea_eV, error_eV = (float(fits.iloc[0][name]) for name in ("Ea_eV", "Ea_error_eV"))
            ends = [float(fits.iloc[0].get(f"Ea_{end}_eV", NAN)) for end in ("low", "high")]
            interval = (ends[0], ends[1]) if not np.isnan(ends).any() else None
            ours = Measured(Ea_eV, error_eV, not_comparable=cell_size_remark(run), interval=interval)
        rows.append(comparison_row("activation energy", f"x = {x:g}", "eV", paper, ours))
    return rows


def concerted_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Rows on the shares of concerted jumps by temperature."""
    rows = []
    for kelvin, share in ((400.0, 0.48), (500.0, 0.57), (600.0, 0.67)):
        counts = select_rows(run.concerted, temperature_K=kelvin)
        ours = Measured(remark=f"{kelvin:g} K not in this run")
        if len(counts):
            concerted, jumps = (float(counts.iloc[0][name]) for name in ("n_concerted", "n_jumps"))
            ours = Measured(remark="no jumps")
            if jumps:
                ours = replace(share_with_interval(concerted, jumps), not_comparable=cell_size_remark(run))
        rows.append(
            comparison_row("share of concerted jumps", f"{kelvin:g} K", "", (share, share - 0.005, share + 0.005), ours)
        )
    return rows


def _diffusivity(run: RunTables, x: float, kelvin: float) -> Measured:
    rows = select_rows(run.diffusivities, x=x, temperature_K=kelvin)
    if not len(rows):
        return Measured(remark=f"x = {x:g} at {kelvin:g} K not in this run")
    if rows.iloc[0]["n_jumps"] == 0:
        return Measured(remark=f"no jump at x = {x:g}, below {rows.iloc[0]['D_jumps_limit_cm2_s']:.1g} cm²/s")
    return _from_jumps(run, rows.iloc[0])


def _from_jumps(run: RunTables, line: pd.Series, remark: str = "") -> Measured:
    """D from jumps with the interval of a Poisson count of the same relative error; upper limits are not comparable."""
    value, error = float(line["D_jumps_cm2_s"]), float(line["D_jumps_error_cm2_s"])
    limit = float(line["D_jumps_limit_cm2_s"])
    upper_limit = f"upper limit only, {limit:.1g} cm²/s" if limit > 0 else ""
    if not error > 0:
        return Measured(value, error, remark, cell_size_remark(run) or upper_limit or "no error known")
    count = (value / error) ** 2
    low, high = (float(end) * value / count for end in count_interval(np.array(count)))
    return Measured(value, error, remark, cell_size_remark(run) or upper_limit, (low, high))


def _largest(run: RunTables, kelvin: float) -> Measured:
    rows = select_rows(run.diffusivities, temperature_K=kelvin)
    if not len(rows):
        return Measured(remark=f"{kelvin:g} K not in this run")
    best = rows.nlargest(1, "D_jumps_cm2_s").iloc[0]
    if not best["D_jumps_cm2_s"] > 0:
        return Measured(remark=f"no jump at {kelvin:g} K")
    return _from_jumps(run, best, f"at x = {best['x']:g}")


def _rate(run: RunTables, kelvin: float) -> Measured:
    rows = select_rows(run.diffusivities, temperature_K=kelvin)
    time_ns = float(rows["time_ps"].sum()) / PS_PER_NS if len(rows) else 0.0
    if not time_ns:
        return Measured(remark=f"{kelvin:g} K not in this run")
    count = float(rows["n_jumps"].sum())
    low, high = count_interval(np.array(count))
    interval = (float(low) / time_ns, float(high) / time_ns)
    return Measured(count / time_ns, max(count, 1.0) ** 0.5 / time_ns, "", cell_size_remark(run), interval)
