"""Diffusion and activation energies, sites and concerted jumps."""

from __future__ import annotations

import numpy as np
import pandas as pd

from redoxmd.orderings import cost_of_a_vacancy_eV
from redoxmd.paper.measured import NAN, Measured, mean_of, row, where
from redoxmd.paper.tables import RunTables
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
            "cost of an empty preferred site",
            "relaxed orderings",
            "meV",
            (130.0, 125.0, 135.0),
            _cost_meV(run.orderings),
        ),
    ]


def _of_kind(sites: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Rows of a kind of site; an empty table has no columns."""
    return sites[sites["kind"] == kind] if len(sites) else sites


def _neighbours(run: RunTables, kind: str) -> Measured:
    found = _of_kind(run.sites, kind)
    return mean_of(found["coordination"].to_numpy(), "") if len(found) else Measured(remark=f"no sites of kind {kind}")


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
    share = float((kept["from_kind"] != kept["to_kind"]).mean())
    return Measured(share, float(np.sqrt(share * (1 - share) / len(kept))))


def _cost_meV(orderings: pd.DataFrame | None) -> Measured:
    if orderings is None:
        return Measured(remark="no basin hopping (basins.enabled)")
    costs = cost_of_a_vacancy_eV(orderings)
    return mean_of(1000 * costs, "mean over x and cells", "no content with a preferred site empty")


def diffusion_rows(run: RunTables) -> list[tuple[object, ...]]:
    """How fast ions diffuse."""
    top, bottom = (_diffusivity(run, x, 600.0) for x in (2.875, 1.25))
    fall = Measured(remark="; ".join(item.remark for item in (top, bottom) if item.remark))
    if top.value > 0 and bottom.value > 0:
        error = np.hypot(top.error / top.value, bottom.error / bottom.value) / np.log(10)
        fall = Measured(float(np.log10(top.value / bottom.value)), float(error))
    return [
        row(
            "D, from jumps",
            "x = 2.75, 600 K",
            "cm²/s",
            (2.1e-6, 2.05e-6, 2.15e-6),
            _diffusivity(run, 2.75, 600.0),
        ),
        row("largest D of all x, from jumps", "600 K", "cm²/s", (2.1e-6, 2.05e-6, 2.15e-6), _largest(run, 600.0)),
        row("D from jumps over D from MSD, log10 of", "600 K", "", (NAN, -1.0, 1.0), _jumps_over_msd(run, 600.0)),
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
            ours = Measured(float(found.iloc[0]["Ea_eV"]), float(found.iloc[0]["Ea_error_eV"]))
        rows.append(row("activation energy", f"x = {x:g}", "eV", paper, ours))
    return rows


def concerted_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Shares of concerted jumps by temperature."""
    rows = []
    for kelvin, share in ((400.0, 0.48), (500.0, 0.57), (600.0, 0.67)):
        found = where(run.concerted, temperature_K=kelvin)
        ours = Measured(remark=f"{kelvin:g} K not in this run")
        if len(found):
            line = found.iloc[0]
            ours = Measured(float(line["concerted_fraction"]), float(line["concerted_error"]))
            if np.isnan(ours.value):
                ours = Measured(remark="no jumps")
        rows.append(row("share of concerted jumps", f"{kelvin:g} K", "", (share, share - 0.005, share + 0.005), ours))
    return rows


def _diffusivity(run: RunTables, x: float, kelvin: float) -> Measured:
    found = where(run.diffusivities, x=x, temperature_K=kelvin)
    if not len(found):
        return Measured(remark=f"x = {x:g} at {kelvin:g} K not in this run")
    if found.iloc[0]["n_jumps"] == 0:
        return Measured(remark=f"no jump at x = {x:g}, below {found.iloc[0]['D_jumps_limit_cm2_s']:.1g} cm²/s")
    return Measured(float(found.iloc[0]["D_jumps_cm2_s"]), float(found.iloc[0]["D_jumps_error_cm2_s"]))


def _largest(run: RunTables, kelvin: float) -> Measured:
    found = where(run.diffusivities, temperature_K=kelvin)
    if not len(found):
        return Measured(remark=f"{kelvin:g} K not in this run")
    best = found.nlargest(1, "D_jumps_cm2_s").iloc[0]
    if not best["D_jumps_cm2_s"] > 0:
        return Measured(remark=f"no jump at {kelvin:g} K")
    return Measured(float(best["D_jumps_cm2_s"]), float(best["D_jumps_error_cm2_s"]), f"at x = {best['x']:g}")


def _jumps_over_msd(run: RunTables, kelvin: float) -> Measured:
    found = where(run.diffusivities, temperature_K=kelvin)
    if len(found):
        found = found[(found["D_jumps_cm2_s"] > 0) & (found["D_msd_cm2_s"] > 0)]
    ratios = np.log10((found["D_jumps_cm2_s"] / found["D_msd_cm2_s"]).to_numpy()) if len(found) else np.array([])
    return mean_of(ratios, "mean over x", f"no x with both at {kelvin:g} K")


def _rate(run: RunTables, kelvin: float) -> Measured:
    found = where(run.diffusivities, temperature_K=kelvin)
    time_ns = float(found["time_ps"].sum()) / PS_PER_NS if len(found) else 0.0
    if not time_ns:
        return Measured(remark=f"{kelvin:g} K not in this run")
    count = float(found["n_jumps"].sum())
    return Measured(count / time_ns, max(count, 1.0) ** 0.5 / time_ns)
