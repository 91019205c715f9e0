"""Site analysis of one trajectory: occupancy, site changes and concerted jumps as dataset variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from redoxmd.config.sections import Diffusion, Structures
from redoxmd.diffusion.concerted import ConcertedAnalysis, ConcertedJumps
from redoxmd.diffusion.framework import element_mask, mean_framework
from redoxmd.diffusion.jumps import diffusion_from_jumps, frames_to_persist
from redoxmd.diffusion.site_jumps import SiteJumps, find_stays, held_keys, jumps_between, occupancy, rate_of
from redoxmd.diffusion.sites import NONE, SiteMap, SiteTree, source_sites
from redoxmd.diffusion.visited import visited_sites
from redoxmd.errors import StructureError
from redoxmd.files.trajectory import Trajectory
from redoxmd.structures.occupation import site_labels
from redoxmd.units import FS_PER_PS

OCCUPANCY_BINS = 100
ERROR_BLOCKS = 10
# Spheres of 1.5 Å around the sites fill a quarter of the cell; the ions of a liquid are in them a quarter of the time.
MIN_TIME_AT_SITES = 0.5
# Concerted jumps within the window, of neighbours among them, and exchanges.
CONCERTED_COUNTS = ("n_sites_concerted", "n_neighbouring", "n_exchanges")
Variables = dict[str, tuple[Any, Any]]


def site_variables(
    trajectory: Trajectory,
    positions_A: np.ndarray,
    mobile: np.ndarray,
    diffusing: Sequence[str],
    structures: Structures | SiteMap | None,
    settings: Diffusion,
    rng: np.random.Generator,
) -> tuple[Variables, dict[str, str]]:
    """Site variables and attributes for `analysis.analyse_trajectory`; if sites cannot be assigned, only the reason.

    Dimensions: `site` sites, `kind` kinds of site, `occupancy_bin` time bins, `event` site changes.

    Args:
        positions_A: (T, m, 3) mobile ions, drift removed.
        mobile: (n,) mask of the mobile ions.
        diffusing: other elements outside the framework (`framework.diffusing_elements`).
        structures: section with the source cell that defines the sites, or the sites; None: sites are found from the
            density of visits.
        rng: random numbers of the chance level.
    """
    frames = len(trajectory.time_fs)
    if frames < 2 or not mobile.any():
        end = str(trajectory.metadata.get("end_reason", "")) or "it does not say why"
        reason = "fewer than two frames" if frames else "no frames"
        return {}, {"site_origin": "", "no_sites": f"{reason} ({end})" if mobile.any() else "no mobile ion"}
    window = frames_to_persist(trajectory.time_fs, settings.persistence_fs)
    if frames < window:
        reason = f"{frames} frames, fewer than the {window} of diffusion.persistence_fs, so that no ion has stayed"
        return {}, {"site_origin": "", "no_sites": reason}
    try:
        if isinstance(structures, SiteMap):
            sites = structures
        elif structures is not None and settings.site_reference == "source":
            sites = source_sites(trajectory, structures, diffusing)
        else:
            moving = mobile | element_mask(trajectory.numbers, diffusing)
            framework_A, cell_A = mean_framework(trajectory, moving), np.asarray(trajectory.cell_A)
            others = trajectory.numbers[~moving]
            sites = visited_sites(positions_A, framework_A, others, cell_A, settings.site_radius_A, window)
        preferred = structures.preferred_site if isinstance(structures, Structures) else ""
        variables = _analyse_sites(trajectory.time_fs, positions_A, sites, preferred, settings, window, rng)
    except StructureError as error:
        return {}, {"site_origin": "", "no_sites": str(error)}
    return variables, {"site_origin": sites.origin, "no_sites": ""}


def _analyse_sites(
    time_fs: np.ndarray,
    positions_A: np.ndarray,
    sites: SiteMap,
    preferred: str,
    settings: Diffusion,
    window: int,
    rng: np.random.Generator,
) -> Variables:
    """Stays, occupancy, site changes and concerted jumps of one trajectory.

    Raises:
        StructureError: two sites are nearer than the radius, or the ions are at the sites too rarely.
    """
    tree = SiteTree(sites.fractional, sites.cell_A, settings.site_radius_A)
    apart_A, *pair = tree.closest()
    if apart_A < settings.site_radius_A and sites.origin == "source":
        first, second = (site_labels(sites.kind.tolist())[site] for site in pair)
        raise StructureError(
            f"sites {first} and {second} are {apart_A:.2f} Å apart, nearer than diffusion.site_radius_A "
            f"({settings.site_radius_A:g} Å), so an ion at one is at the other too; make one site of split ones in "
            "structures.source, or lower the radius to half of that distance"
        )
    keys = tree.keys(positions_A)
    at_sites = float((keys != NONE).mean())
    if at_sites < MIN_TIME_AT_SITES:
        raise StructureError(
            f"the ions are at the sites of the source cell for {at_sites:.0%} of the time; look at the "
            "trajectory, set diffusion.site_reference: visited, or change diffusion.site_radius_A"
        )
    stays = find_stays(keys, window)
    jumps = jumps_between(stays, time_fs, tree, settings.return_fs)
    held = held_keys(keys, stays, int(settings.return_fs / (time_fs[1] - time_fs[0])))
    concerted_analysis, transport = ConcertedAnalysis(sites, preferred, settings), jumps.transport
    concerted = concerted_analysis.analyse(transport)
    chance = concerted_analysis.chance_counts(transport, time_fs, rng)
    n_ions, duration_fs = positions_A.shape[1], float(time_fs[-1] - time_fs[0])
    rate, rate_error, rate_limit = rate_of(len(transport), n_ions, duration_fs / FS_PER_PS)
    D, D_error, D_limit = diffusion_from_jumps(transport, n_ions, duration_fs, settings.jump_distance_A)
    delay = concerted.exchanges.delay_fs
    scalars = {
        "at_sites_fraction": at_sites,
        "at_no_site_fraction": float((held == NONE).mean()),
        "n_site_changes": len(jumps),
        "n_returned": int(jumps.returned.sum()),
        "n_site_jumps": len(transport),
        "site_rate_per_ps": rate,
        "site_rate_error_per_ps": rate_error,
        "site_rate_limit_per_ps": rate_limit,
        "D_sites_cm2_s": D,
        "D_sites_error_cm2_s": D_error,
        "D_sites_limit_cm2_s": D_limit,
        **dict(zip(CONCERTED_COUNTS, concerted.counts.astype(int).tolist(), strict=True)),
        **dict(zip((f"{name}_chance" for name in CONCERTED_COUNTS), chance.tolist(), strict=True)),
        "n_leaving_first": int((delay > 0).sum()),
        "n_entering_first": int((delay < 0).sum()),
        "n_together": int((delay == 0).sum()),
        "exchange_delay_fs": float(np.abs(delay).mean()) if len(delay) else float("nan"),
    }
    members = [sites.kind == name for name in sites.kinds]
    filled = occupancy(held, sites)
    bins = np.array_split(np.arange(len(time_fs)), min(OCCUPANCY_BINS, len(time_fs)))
    blocks = np.array([block.mean(axis=0) for block in np.array_split(filled, min(ERROR_BLOCKS, len(filled)))])
    return {
        **{name: ((), value) for name, value in scalars.items()},
        "site_kind": ("site", sites.kind.astype(object)),
        "site_fractional": (("site", "axis"), sites.fractional),
        "kind": ("kind", np.array(sites.kinds, dtype=object)),
        "kind_sites": ("kind", [int(member.sum()) for member in members]),
        "kind_coordination": ("kind", [float(sites.coordination[member].mean()) for member in members]),
        "kind_occupancy": ("kind", filled.mean(axis=0)),
        "kind_occupancy_error": ("kind", blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks))),
        "occupancy": (("occupancy_bin", "kind"), [filled[frames].mean(axis=0) for frames in bins]),
        "occupancy_time_fs": ("occupancy_bin", [float(time_fs[frames].mean()) for frames in bins]),
        **_event_variables(jumps, concerted),
    }


def _event_variables(jumps: SiteJumps, concerted: ConcertedJumps) -> Variables:
    """Site changes; `concerted` refers to those without rattling."""
    transport = np.flatnonzero(~jumps.returned)
    within, neighbouring = np.zeros((2, len(jumps)), dtype=bool)
    within[transport], neighbouring[transport] = concerted.within, concerted.neighbouring
    exchange, delay = np.full(len(jumps), NONE), np.full(len(jumps), np.nan)
    for side in (concerted.exchanges.leaving, concerted.exchanges.entering):
        exchange[transport[side]] = np.arange(len(concerted.exchanges))
        delay[transport[side]] = concerted.exchanges.delay_fs
    partner, paired = np.full(len(jumps), NONE), concerted.partner != NONE
    partner[transport[paired]] = transport[concerted.partner[paired]]
    columns = {
        "time_fs": jumps.time_fs,
        "ion": jumps.ion,
        "from_site": jumps.from_site,
        "to_site": jumps.to_site,
        "distance_A": jumps.distance_A,
        "returned": jumps.returned,
        "concerted": within,
        "neighbouring": neighbouring,
        "partner": partner,
        "exchange": exchange,
        "delay_fs": delay,
    }
    return {f"event_{name}": ("event", values) for name, values in columns.items()}
