"""Site analysis of one trajectory: occupancy, site changes and concerted jumps as dataset variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase.data import atomic_masses

from redoxmd.config.sections import Diffusion, Structures
from redoxmd.diffusion.concerted import ConcertedAnalysis, ConcertedJumps
from redoxmd.diffusion.framework import element_mask
from redoxmd.diffusion.jumps import diffusion_from_jumps, frames_to_persist, without_drift
from redoxmd.diffusion.site_jumps import SiteJumps, find_stays, held_keys, jumps_between, occupancy, rate_of
from redoxmd.diffusion.sites import NONE, SiteMap, SiteTree, source_sites
from redoxmd.diffusion.visited import visited_sites
from redoxmd.errors import StructureError
from redoxmd.files.trajectory import Trajectory
from redoxmd.structures.occupation import site_labels
from redoxmd.units import FS_PER_PS

OCCUPANCY_BINS = 100
ERROR_BLOCKS = 10
MEAN_FRAMES = 1000
# Spheres of 1.5 Å around the sites fill a quarter of the cell; the ions of a liquid are in them a quarter of the time.
MIN_TIME_AT_SITES = 0.5
Variables = dict[str, tuple[Any, Any]]


def site_variables(
    trajectory: Trajectory,
    positions_A: np.ndarray,
    mobile: np.ndarray,
    diffusing: Sequence[str],
    structures: Structures | None,
    settings: Diffusion,
    rng: np.random.Generator,
) -> tuple[Variables, dict[str, str]]:
    """Site variables and attributes for `analysis.analyse_trajectory`; if sites cannot be assigned, only the reason.

    Dimensions: `site` sites, `kind` kinds of site, `occupancy_bin` time bins, `event` site changes.

    Args:
        trajectory: all frames.
        positions_A: (T, m, 3) mobile ions, drift removed.
        mobile: (n,) mask of the mobile ions.
        diffusing: other elements outside the framework (`framework.diffusing_elements`).
        structures: section with the source cell that defines the sites; None: sites are found from the density of
            visits.
        settings: section `diffusion`.
        rng: random numbers of the chance level.
    """
    frames = len(trajectory.time_fs)
    if frames < 2 or not mobile.any():
        end = str(trajectory.metadata.get("end_reason", "")) or "it does not say why"
        reason = "fewer than two frames" if frames else "no frames"
        return {}, {"site_origin": "", "no_sites": f"{reason} ({end})" if mobile.any() else "no mobile ion"}
    window = frames_to_persist(trajectory.time_fs, settings.persistence_fs)
    try:
        sites = _site_map(trajectory, positions_A, mobile, diffusing, structures, settings, window)
        preferred = structures.preferred_site if structures else ""
        analysis = _SiteAnalysis(trajectory.time_fs, positions_A, sites, preferred, settings, window)
    except StructureError as error:
        return {}, {"site_origin": "", "no_sites": str(error)}
    return analysis.variables(rng), {"site_origin": sites.origin, "no_sites": ""}


def _site_map(
    trajectory: Trajectory,
    positions_A: np.ndarray,
    mobile: np.ndarray,
    diffusing: Sequence[str],
    structures: Structures | None,
    settings: Diffusion,
    window: int,
) -> SiteMap:
    if structures is not None and settings.site_reference == "source":
        return source_sites(trajectory, structures, diffusing)
    # A subset of frames suffices for the mean framework; all frames would double the memory of the trajectory.
    sampled = trajectory.positions_A[:: max(1, len(trajectory.time_fs) // MEAN_FRAMES)]
    not_framework = mobile | element_mask(trajectory.numbers, diffusing)
    framework_A = without_drift(
        sampled, not_framework, atomic_masses[trajectory.numbers], selected=~not_framework
    ).mean(axis=0)
    cell_A, numbers = np.asarray(trajectory.cell_A), trajectory.numbers[~not_framework]
    return visited_sites(positions_A, framework_A, numbers, cell_A, settings.site_radius_A, window)


class _SiteAnalysis:
    """Stays, site changes and concerted jumps of one trajectory."""

    def __init__(
        self,
        time_fs: np.ndarray,
        positions_A: np.ndarray,
        sites: SiteMap,
        preferred: str,
        settings: Diffusion,
        window: int,
    ) -> None:
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
        stays = find_stays(keys, window)
        self.time_fs, self.sites, self.settings = time_fs, sites, settings
        self.n_ions, self.at_sites = positions_A.shape[1], float((keys != NONE).mean())
        if self.at_sites < MIN_TIME_AT_SITES:
            raise StructureError(
                f"the ions are at the sites of the source cell for {self.at_sites:.0%} of the time; look at the "
                "trajectory, set diffusion.site_reference: visited, or change diffusion.site_radius_A"
            )
        self.jumps = jumps_between(stays, time_fs, tree, settings.return_fs)
        self.held = held_keys(keys, stays, int(settings.return_fs / (time_fs[1] - time_fs[0])))
        self.occupancy = occupancy(self.held, sites)
        self.concerted_analysis = ConcertedAnalysis(sites, preferred, settings)

    def variables(self, rng: np.random.Generator) -> Variables:
        transport = self.jumps.transport
        concerted = self.concerted_analysis.analyse(transport)
        duration_fs = float(self.time_fs[-1] - self.time_fs[0])
        chance = self.concerted_analysis.chance_counts(transport, self.time_fs, rng)
        scalars = self._rate_scalars(transport, duration_fs) | _concerted_scalars(concerted, chance)
        return {
            **{name: ((), value) for name, value in scalars.items()},
            **self._site_variables(),
            **self._event_variables(concerted),
        }

    def _rate_scalars(self, transport: SiteJumps, duration_fs: float) -> dict[str, float]:
        rate = rate_of(len(transport), self.n_ions, duration_fs / FS_PER_PS)
        D = diffusion_from_jumps(transport, self.n_ions, duration_fs, self.settings.jump_distance_A)
        return {
            "at_sites_fraction": self.at_sites,
            "at_no_site_fraction": float((self.held == NONE).mean()),
            "n_site_changes": len(self.jumps),
            "n_returned": int(self.jumps.returned.sum()),
            "n_site_jumps": len(transport),
            "site_rate_per_ps": rate.per_ps,
            "site_rate_error_per_ps": rate.error_per_ps,
            "site_rate_limit_per_ps": rate.limit_per_ps,
            "D_sites_cm2_s": D.value_cm2_s,
            "D_sites_error_cm2_s": D.error_cm2_s,
            "D_sites_limit_cm2_s": D.limit_cm2_s,
        }

    def _site_variables(self) -> Variables:
        sites = self.sites
        members = [sites.kind == name for name in sites.kinds]
        bins = np.array_split(np.arange(len(self.time_fs)), min(OCCUPANCY_BINS, len(self.time_fs)))
        mean = self.occupancy.mean(axis=0)
        return {
            "site_kind": ("site", sites.kind.astype(object)),
            "site_fractional": (("site", "axis"), sites.fractional),
            "kind": ("kind", np.array(sites.kinds, dtype=object)),
            "kind_sites": ("kind", [int(member.sum()) for member in members]),
            "kind_coordination": ("kind", [float(sites.coordination[member].mean()) for member in members]),
            "kind_occupancy": ("kind", mean),
            "kind_occupancy_error": ("kind", _block_error(self.occupancy)),
            "occupancy": (("occupancy_bin", "kind"), [self.occupancy[frames].mean(axis=0) for frames in bins]),
            "occupancy_time_fs": ("occupancy_bin", [float(self.time_fs[frames].mean()) for frames in bins]),
        }

    def _event_variables(self, concerted: ConcertedJumps) -> Variables:
        jumps, transport = self.jumps, np.flatnonzero(~self.jumps.returned)
        flags = {name: np.zeros(len(jumps), dtype=bool) for name in ("within", "neighbouring")}
        for name, flag in flags.items():
            flag[transport] = getattr(concerted, name)
        exchange, delay = np.full(len(jumps), NONE), np.full(len(jumps), np.nan)
        for side in (concerted.exchanges.leaving, concerted.exchanges.entering):
            exchange[transport[side]] = np.arange(len(concerted.exchanges))
            delay[transport[side]] = concerted.exchanges.delay_fs
        partner, paired = np.full(len(jumps), NONE), concerted.partner != NONE
        partner[transport[paired]] = transport[concerted.partner[paired]]
        return {
            "event_time_fs": ("event", jumps.time_fs),
            "event_ion": ("event", jumps.ion),
            "event_from_site": ("event", jumps.from_site),
            "event_to_site": ("event", jumps.to_site),
            "event_distance_A": ("event", jumps.distance_A),
            "event_returned": ("event", jumps.returned),
            "event_concerted": ("event", flags["within"]),
            "event_neighbouring": ("event", flags["neighbouring"]),
            "event_partner": ("event", partner),
            "event_exchange": ("event", exchange),
            "event_delay_fs": ("event", delay),
        }


def _concerted_scalars(concerted: ConcertedJumps, chance: np.ndarray) -> dict[str, float]:
    names = ("n_sites_concerted", "n_neighbouring", "n_exchanges")
    delay = concerted.exchanges.delay_fs
    return {
        **dict(zip(names, concerted.counts.astype(int).tolist(), strict=True)),
        **dict(zip((f"{name}_chance" for name in names), chance.tolist(), strict=True)),
        "n_leaving_first": int((delay > 0).sum()),
        "n_entering_first": int((delay < 0).sum()),
        "n_together": int((delay == 0).sum()),
        "exchange_delay_fs": float(np.abs(delay).mean()) if len(delay) else float("nan"),
    }


def _block_error(series: np.ndarray) -> np.ndarray:
    """Standard error (k,) of the time average of (T, k), from block averages."""
    blocks = np.array([block.mean(axis=0) for block in np.array_split(series, min(ERROR_BLOCKS, len(series)))])
    error: np.ndarray = blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks))
    return error
