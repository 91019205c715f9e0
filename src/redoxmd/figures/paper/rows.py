"""Rows of the comparison: potentials and loop, densities and charges, sites, diffusion, activation, concerted jumps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from redoxmd.basins.orderings import vacancy_costs
from redoxmd.charges.oxidation import OxidationModel
from redoxmd.diffusion.counting import count_interval
from redoxmd.errors import COMPLETED
from redoxmd.figures.paper.measured import (
    NAN,
    PAPER_CELL,
    Measured,
    RunTables,
    cell_size_remark,
    comparison_row,
    mean_with_error,
    select_rows,
    share_with_interval,
)
from redoxmd.units import PS_PER_NS

# Engines whose errors are comparable with the paper; a smooth potential as reference is easier to learn.
DFT = ("vasp", "gpaw")
# Time after which runs of the first generation become unstable in the paper.
FIRST_BREAKS_PS = (NAN, 2.0, 10.0)
# Oxygen neighbours of the two kinds of site in NVP, from the literature that the paper cites.
NEIGHBOURS = {"Na1": 6.0, "Na2": 8.0}
# "Close to 1" in the paper is read as 0.9 or more.
NEARLY_FULL = 0.9
# D in cm²/s of the paper at x = 2.75 and 600 K, with its range.
PAPER_D = (2.1e-6, 2.05e-6, 2.15e-6)


def accuracy_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Rows on the errors of the ensemble on test configurations."""
    rows = [item for item in run.errors if item["member"] == -1 and item["set"] == "test"]
    errors = rows[0] if rows else {}
    not_comparable = "" if run.engine in DFT else f"reference is engine {run.engine}, the paper's is DFT (VASP)"
    if not run.decisions:
        not_comparable = "the ensemble was given; whether it was trained on the test configurations is not known"
    missing = "" if rows else "no test configuration (train.test_configurations)"
    rows_of_paper = (
        ("error of forces (MAE)", "eV/Å", 0.23, "force_mae_eV_A"),
        ("error of energies (MAE)", "meV/atom", 1.52, "energy_mae_meV_atom"),
    )
    measured = [Measured(float(errors.get(row[-1], NAN)), NAN, missing, not_comparable) for row in rows_of_paper]
    return [
        comparison_row(quantity, "unseen configuration", unit, (paper, NAN, paper), ours, "at_most")
        for (quantity, unit, paper, _), ours in zip(rows_of_paper, measured, strict=True)
    ]


def loop_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Rows on the length of stable MD."""
    at_least_ps, longest = (PS_PER_NS, PS_PER_NS, NAN), _longest(run)
    return [
        comparison_row("MD survives in the first generation", "", "ps", FIRST_BREAKS_PS, _first_survival(run)),
        comparison_row("longest trajectory that stays whole", PAPER_CELL, "ps", at_least_ps, longest, "at_least"),
    ]


def _first_survival(run: RunTables) -> Measured:
    """Mean survival time of the runs of the first generation; a lower bound if some runs reached their end."""
    runs = run.decisions[0].figures.runs if run.decisions else []
    times = mean_with_error(np.array([item.survived_ps for item in runs]), "")
    ended = [item.target_ps for item in runs if item.survived_ps >= item.target_ps]
    if not ended:
        return times
    lower_bound = f"{len(ended)} of {len(runs)} runs ended at the {max(ended):g} ps asked for"
    # A lower bound above the range of the paper is a contradiction.
    above = times.value > FIRST_BREAKS_PS[2]
    return replace(times, remark=lower_bound if above else "", not_comparable="" if above else lower_bound)


def _longest(run: RunTables) -> Measured:
    table = run.trajectories
    completed = table[table["end_reason"] == COMPLETED] if len(table) else table
    if not len(completed):
        return Measured(remark="no whole trajectory")
    longest = float(completed["duration_ps"].max())
    short = longest < PS_PER_NS and len(completed) == len(table)
    return Measured(longest, not_comparable="no longer one was asked for" if short else cell_size_remark(run))


def charge_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Rows on the Bader charges of the two states and their errors."""
    no_model = Measured(remark="no density model (density.enabled)")
    separation = mae = share = no_model
    if run.states is not None and run.charges is not None:
        separation = Measured(remark="one state only, or too few charges")
        if run.states.reference is not None:
            separation = _separation(run.states.reference, int((run.charges["element"] == run.redox_element).sum()))
        chosen = (run.charges["element"] == run.redox_element) & (run.charges["set"] == "test")
        error = (run.charges["predicted_charge_e"] - run.charges["reference_charge_e"])[chosen].abs()
        if len(error):
            mae = mean_with_error(error.to_numpy(), "")
            share = share_with_interval(int((error < 0.05).sum()), len(error))
        else:
            mae = share = Measured(remark="no test configuration with a density")
    element, error_name = run.redox_element, f"error of the Bader charge of {run.redox_element} (MAE)"
    return [
        comparison_row(f"Bader charges of the two states of {element}, apart", "", "e", (0.25, 0.2, 0.3), separation),
        comparison_row(error_name, "test set", "e", (0.009, NAN, 0.009), mae, "at_most"),
        comparison_row("share of these errors below 0.05 e", "test set", "", (NAN, 0.5, NAN), share, "at_least"),
    ]


def _separation(model: OxidationModel, charges: int) -> Measured:
    """Difference of the mean charges of the two states, with the standard error for a fit to `charges` charges."""
    low, high = (float(mean[0]) for mean in model.mean)
    components = zip(model.covariance, model.weight, strict=True)
    variance = sum(float(covariance[0][0]) / (float(weight) * charges) for covariance, weight in components)
    return Measured(abs(high - low), float(np.sqrt(variance)))


def redox_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Rows on the bonds of the two states and on hops and jumps."""
    element = run.redox_element
    bond = cosine = Measured(remark="no density model (density.enabled)")
    if run.redox is not None:
        table = run.redox
        measured = table[np.isfinite(table["bond_difference_A"]) & (table["bond_difference_error_A"] > 0)]
        weight = 1 / measured["bond_difference_error_A"] ** 2
        bond = Measured(remark="no trajectory with both states for long enough")
        if len(measured):
            mean = float((weight * measured["bond_difference_A"]).sum() / weight.sum())
            bond = Measured(mean, float(weight.sum() ** -0.5))
        cosine = mean_with_error(table["mean_cosine"].dropna().to_numpy(), "", "no electron hop near a jump")
    longer, everywhere = f"{element}–O bond of the higher state, longer by", "all trajectories"
    return [
        comparison_row(longer, everywhere, "Å", (-0.08, -0.085, -0.075), bond),
        comparison_row("cosine of electron hop and ion jump", everywhere, "", (NAN, NAN, 0.0), cosine, "at_most"),
    ]


def site_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Rows on the kinds of sites, their occupancies and the jumps between them."""
    preferred, everywhere, orderings = run.preferred_site, "all trajectories", "relaxed orderings"
    unlike, filled, cost = _unlike_jumps(run.events), _occupancy(run, preferred), _cost_meV_fu(run.orderings)
    return [
        *(
            comparison_row("O neighbours of a site", kind, "", (n, n - 0.05, n + 0.05), _neighbours(run, kind))
            for kind, n in NEIGHBOURS.items()
        ),
        comparison_row("ions per preferred site", preferred, "", (NAN, NEARLY_FULL, NAN), filled, "at_least"),
        comparison_row("ions per site", "Na2, x = 3", "", (2 / 3, 0.662, 0.671), _occupancy(run, "Na2", x=3.0)),
        comparison_row(
            "share of site jumps between unlike sites", everywhere, "", (1.0, 0.995, 1.0), unlike, "at_least"
        ),
        comparison_row("cost of empty preferred sites", orderings, "meV/f.u.", (130.0, 125.0, 135.0), cost),
    ]


def _neighbours(run: RunTables, kind: str) -> Measured:
    sites = select_rows(run.sites, kind=kind)
    if not len(sites):
        return Measured(remark=f"no sites of kind {kind}")
    return Measured(float(sites["coordination"].mean()))


def _occupancy(run: RunTables, kind: str, x: float | None = None) -> Measured:
    sites = select_rows(run.sites, kind=kind) if x is None else select_rows(run.sites, kind=kind, x=x)
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
    D, largest = _diffusivity(run, 2.75, 600.0), _largest(run, 600.0)
    return [
        comparison_row("D, from jumps", "x = 2.75, 600 K", "cm²/s", PAPER_D, D),
        comparison_row("largest D of all x, from jumps", "600 K", "cm²/s", PAPER_D, largest),
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
            low_eV, high_eV = (float(fits.iloc[0][f"Ea_{end}_eV"]) for end in ("low", "high"))
            ours = Measured(Ea_eV, error_eV, not_comparable=cell_size_remark(run), interval=(low_eV, high_eV))
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
        paper = (share, share - 0.005, share + 0.005)
        rows.append(comparison_row("share of concerted jumps", f"{kelvin:g} K", "", paper, ours))
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
