"""Diffusion and activation energies, sites and concerted jumps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from redoxmd.basins.orderings import vacancy_costs
from redoxmd.diffusion.counting import count_interval
from redoxmd.paper.measured import NAN, Measured, mean_of, row, share_of, where
from redoxmd.paper.tables import RunTables, other_cell
from redoxmd.units import PS_PER_NS

# Literature that the paper quotes: neighbours of the two kinds of site in NVP.
NEIGHBOURS = {"Na1": 6.0, "Na2": 8.0}
# "Close to 1", read as 0.9 or more.
NEARLY_FULL = 0.9


def site_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Kinds of sites, how full they are, and what goes on between them."""
    return [
        *(
            row("O neighbours of a site", kind, "", (count, count - 0.05, count + 0.05), _neighbours(run, kind))
            for kind, count in NEIGHBOURS.items()
        ),
        row(
            "ions per preferred site",
            run.preferred_site,
            "",
            (NAN, NEARLY_FULL, NAN),
            _occupancy(run, kind=run.preferred_site),
            "at_least",
        ),
        row("ions per site", "Na2, x = 3", "", (2 / 3, 0.662, 0.671), _occupancy(run, kind="Na2", x=3.0)),
        row(
            "share of site jumps between unlike sites",
            "all trajectories",
            "",
            (1.0, 0.995, 1.0),
            _unlike(run.events),
            "at_least",
        ),
        row(
            "cost of empty preferred sites",
            "relaxed orderings",
            "meV/f.u.",
            (130.0, 125.0, 135.0),
            _cost_meV_fu(run.orderings),
        ),
    ]


def _of_kind(sites: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Rows of a kind of site; an empty table has no columns."""
    return sites[sites["kind"] == kind] if len(sites) else sites


def _neighbours(run: RunTables, kind: str) -> Measured:
    found = _of_kind(run.sites, kind)
    if not len(found):
        return Measured(remark=f"no sites of kind {kind}")
    return Measured(float(found["coordination"].mean()))


def _occupancy(run: RunTables, kind: str, x: float | None = None) -> Measured:
    found = _of_kind(run.sites, kind)
    if x is not None:
        found = where(found, x=x)
    if not len(found):
        return Measured(remark=f"no sites of kind {kind}" + ("" if x is None else f" at x = {x:g}"))
    errors = found["occupancy_error"].to_numpy()
    return Measured(float(found["occupancy"].mean()), float(np.sqrt((errors**2).sum()) / len(errors)))


def _unlike(events: pd.DataFrame) -> Measured:
    kept = events[~events["returned"].astype(bool)] if len(events) else events
    if not len(kept):
        return Measured(remark="no jump between sites")
    return share_of(int((kept["from_kind"] != kept["to_kind"]).sum()), len(kept))


def _cost_meV_fu(orderings: pd.DataFrame | None) -> Measured:
    """Cost per formula unit of orderings with the largest share of preferred sites empty.

    The literature that the paper quotes (130 meV/f.u., its ref. 33) compares an ion at the one preferred site of each
    formula unit with one elsewhere: all preferred sites empty against none. Other shares do not compare: the energy per
    formula unit is smaller in proportion, and nothing says that the energy of each vacancy is the same.
    """
    if orderings is None:
        return Measured(remark="no basin hopping (basins.enabled)")
    costs = vacancy_costs(orderings)
    if costs.empty:
        return Measured(remark="no content with and without empty preferred sites")
    share = costs["empty_share"].max()
    alike = costs[np.isclose(costs["empty_share"], share)]
    cost = mean_of(alike["cost_meV_fu"].to_numpy(), "mean over x")
    if share < 1:
        per_site = float((alike["cost_meV_fu"] / alike["empty_share"]).mean())
        partial = f"here {share:.2g} of the sites, there all; {per_site:.0f} meV per empty site"
        return replace(cost, not_comparable=partial)
    return cost


def diffusion_rows(run: RunTables) -> list[tuple[object, ...]]:
    """How fast ions diffuse."""
    top, bottom = (_diffusivity(run, x, 600.0) for x in (2.875, 1.25))
    fall = Measured(remark="; ".join(item.remark for item in (top, bottom) if item.remark))
    if top.value > 0 and bottom.value > 0:
        error = np.hypot(top.error / top.value, bottom.error / bottom.value) / np.log(10)
        unfit = top.not_comparable or bottom.not_comparable
        fall = Measured(float(np.log10(top.value / bottom.value)), float(error), not_comparable=unfit)
    return [
        row(
            "D, from jumps",
            "x = 2.75, 600 K",
            "cm²/s",
            (2.1e-6, 2.05e-6, 2.15e-6),
            _diffusivity(run, 2.75, 600.0),
        ),
        row("largest D of all x, from jumps", "600 K", "cm²/s", (2.1e-6, 2.05e-6, 2.15e-6), _largest(run, 600.0)),
        row("fall of D from x = 2.875 to 1.25", "600 K", "decades", (2.0, 1.5, 2.5), fall),
        # Two jumps in 17 concentrations of three trajectories, 166 ps each; the range is that of a Poisson count.
        row("jumps", "300 K, all x", "1/ns", (0.24, 0.03, 0.85), _rate(run, 300.0)),
    ]


def activation_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Activation energies by concentration."""
    # "Nearly double" read as 1.6 to 2 times.
    papers = {2.875: (NAN, 0.23, 0.26), 2.75: (NAN, 0.23, 0.26), 2.25: (NAN, 0.37, 0.52), 2.125: (NAN, 0.37, 0.52)}
    # By NEB and DFT, of the literature that the paper compares with.
    papers[3.0] = (0.304, 0.3035, 0.3045)
    rows = []
    for x, paper in papers.items():
        found = where(run.arrhenius, x=x)
        if not len(found):
            ours = Measured(remark=f"x = {x:g} not in this run")
        elif not found.iloc[0]["fitted"]:
            ours = Measured(remark=str(found.iloc[0]["reason"]))
        else:
            Ea_eV, error_eV = (float(found.iloc[0][name]) for name in ("Ea_eV", "Ea_error_eV"))
            ends = [float(found.iloc[0].get(f"Ea_{end}_eV", NAN)) for end in ("low", "high")]
            interval = (ends[0], ends[1]) if not np.isnan(ends).any() else None
            ours = Measured(Ea_eV, error_eV, not_comparable=other_cell(run), interval=interval)
        rows.append(row("activation energy", f"x = {x:g}", "eV", paper, ours))
    return rows


def concerted_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Shares of concerted jumps by temperature."""
    rows = []
    for kelvin, share in ((400.0, 0.48), (500.0, 0.57), (600.0, 0.67)):
        found = where(run.concerted, temperature_K=kelvin)
        ours = Measured(remark=f"{kelvin:g} K not in this run")
        if len(found):
            concerted, jumps = (float(found.iloc[0][name]) for name in ("n_concerted", "n_jumps"))
            ours = Measured(remark="no jumps")
            if jumps:
                ours = replace(share_of(concerted, jumps), not_comparable=other_cell(run))
        rows.append(row("share of concerted jumps", f"{kelvin:g} K", "", (share, share - 0.005, share + 0.005), ours))
    return rows


def _diffusivity(run: RunTables, x: float, kelvin: float) -> Measured:
    found = where(run.diffusivities, x=x, temperature_K=kelvin)
    if not len(found):
        return Measured(remark=f"x = {x:g} at {kelvin:g} K not in this run")
    if found.iloc[0]["n_jumps"] == 0:
        return Measured(remark=f"no jump at x = {x:g}, below {found.iloc[0]['D_jumps_limit_cm2_s']:.1g} cm²/s")
    return _from_jumps(run, found.iloc[0])


def _from_jumps(run: RunTables, line: pd.Series, remark: str = "") -> Measured:
    """D with the interval of a Poisson count of its relative error; an upper limit is no number to compare."""
    value, error = float(line["D_jumps_cm2_s"]), float(line["D_jumps_error_cm2_s"])
    limit = float(line["D_jumps_limit_cm2_s"])
    few = f"upper limit only, {limit:.1g} cm²/s" if limit > 0 else ""
    if not error > 0:
        return Measured(value, error, remark, other_cell(run) or few or "no error known")
    count = (value / error) ** 2
    low, high = (float(end) * value / count for end in count_interval(np.array(count)))
    return Measured(value, error, remark, other_cell(run) or few, (low, high))


def _largest(run: RunTables, kelvin: float) -> Measured:
    found = where(run.diffusivities, temperature_K=kelvin)
    if not len(found):
        return Measured(remark=f"{kelvin:g} K not in this run")
    best = found.nlargest(1, "D_jumps_cm2_s").iloc[0]
    if not best["D_jumps_cm2_s"] > 0:
        return Measured(remark=f"no jump at {kelvin:g} K")
    return _from_jumps(run, best, f"at x = {best['x']:g}")


def _rate(run: RunTables, kelvin: float) -> Measured:
    found = where(run.diffusivities, temperature_K=kelvin)
    time_ns = float(found["time_ps"].sum()) / PS_PER_NS if len(found) else 0.0
    if not time_ns:
        return Measured(remark=f"{kelvin:g} K not in this run")
    count = float(found["n_jumps"].sum())
    low, high = count_interval(np.array(count))
    interval = (float(low) / time_ns, float(high) / time_ns)
    return Measured(count / time_ns, max(count, 1.0) ** 0.5 / time_ns, "", other_cell(run), interval)
