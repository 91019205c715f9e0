"""Declarations of the figure rules: modules whose code they depend on, and the values in their captions."""

from __future__ import annotations

from typing import Any

from redoxmd.config.sections import Config
from redoxmd.structures.request import cell_name

# Modules of the package whose code a figure depends on, besides `figures`.
MODULES_OF_FIGURE = {
    "fig5_exchange": ("diffusion", "structures"),
    "fig6_concerted": ("diffusion/counting.py",),
    "fig7_diffusivity": ("diffusion/counting.py",),
    "fig8_arrhenius": ("diffusion/counting.py",),
    "fig9_jumps_vs_msd": ("diffusion/counting.py",),
    "site_occupancy": ("diffusion/counting.py",),
    "cell_sizes": ("diffusion",),
    "orderings": ("basins/orderings.py",),
    "fig10_jump": ("charges",),
    "paper_comparison": ("figures/paper", "basins/orderings.py", "diffusion/counting.py"),
}


def captions_of(config: Config) -> dict[str, dict[str, Any]]:
    """Figure → values in its caption (`workflow/report`); a figure is stale when they change."""
    structures, diffusion, production = config.structures, config.diffusion, config.production
    ion, element, site = structures.mobile_ion, structures.redox_element, structures.preferred_site
    # Of any ASE calculator its class: CHGNetCalculator.
    engine = config.engine.ase.calculator.rpartition(".")[2] if config.engine.name == "ase" else config.engine.name
    test = ", ".join(config.train.test_configurations) or "none"
    density_test = ", ".join(config.density_test_configurations) or "none"
    # Whether the states of trajectories are those of the MD, and if so the species of the density network.
    states = config.density.states if config.train.states == "aware" else ""
    paths = ", ".join(f"{number}: {path.name}" for number, path in enumerate(config.neb.paths, start=1))
    potentials = {} if config.has_loop else {"ensemble": str(config.train.ensemble)}
    teacher = config.pretrain.potential if config.pretrain.enabled else ""
    return {
        "learning_curve": {"members": len(config.train.members), "test": test, "teacher": teacher},
        "gate_timeline": {
            "low": config.explore.low_eV_A,
            "high": config.explore.high_eV_A,
            "kelvin": config.explore.temperature_K,
            "interval": config.explore.candidate_every_fs,
        },
        "fig3a_errors": {"test": test, "engine": engine} | potentials,
        "calibration": {
            "members": len(config.train.members),
            "statistic": config.explore.statistic,
            "coverage": config.explore.gate_coverage,
        },
        "left_out_errors": {"folds": config.train.folds},
        "fig4_neb": {
            "ion": ion,
            "paths": paths,
            "images": config.neb.images,
            "engine": engine if config.neb.reference else "",
        },
        "fig5_exchange": {
            "ion": ion,
            "site": site,
            "window": diffusion.concerted_window_ps,
            "radius": diffusion.site_radius_A,
        },
        "fig6_concerted": {"window": diffusion.concerted_window_ps, "distance": diffusion.concerted_distance_A},
        "fig7_diffusivity": {
            "length": production.length_ps,
            "replicas": production.replicas,
            "distance": diffusion.jump_distance_A,
            "jumps": diffusion.min_jumps_to_fit,
        },
        "fig8_arrhenius": {"jumps": diffusion.min_jumps_to_fit, "temperatures": diffusion.min_temperatures_to_fit},
        "fig9_jumps_vs_msd": {"first": diffusion.msd_fit[0], "last": diffusion.msd_fit[1]},
        "site_occupancy": {"radius": diffusion.site_radius_A, "persistence": diffusion.persistence_fs},
        "cell_sizes": {"grid": cell_name(production.supercell)},
        "orderings": {"steps": config.basins.steps, "preferred": site},
        "van_hove": {"ion": ion, "lags": ", ".join(f"{lag:g}" for lag in diffusion.van_hove_lags_ps)},
        "table2_activation": {"ion": ion},
        "electron_hops": {
            "element": ", ".join(config.electrons.levels),
            "ligand": config.charges.ligand,
            "ligands": config.charges.n_ligands,
            "ion": ion,
            "interval": config.electrons.return_fs,
            "every": config.electrons.move_every_fs,
            "mode": config.electrons.md,
        },
        "moment_network": {
            "element": ", ".join(config.electrons.levels),
            "folds": config.electrons.moments.folds,
        },
        "density_errors": {"test": density_test, "points": config.density.points_per_structure},
        "density_slices": {"engine": engine, "element": element},
        "fig3b_bader": {"element": element, "engine": engine, "test": density_test},
        "fig3c_histogram": {
            "element": element,
            "engine": engine,
            "interval": config.charges.every_fs,
            "states": states,
        },
        "redox_table": {
            "element": element,
            "ion": ion,
            "window": config.charges.hop_window_fs / 1000,
            "states": states,
        },
        "fig10_jump": {"element": element, "ion": ion, "states": states},
        "paper_comparison": {"run": config.run},
        "jump_view": {"ion": ion},
        "first_page": {"run": config.run, "ion": ion, "element": element, "engine": engine} | potentials,
    }
