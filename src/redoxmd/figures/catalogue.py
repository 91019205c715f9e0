"""Names of the figures of a run; imports no plotting code, because the workflow loads this module at every parse."""

from __future__ import annotations

from redoxmd.config.sections import Config

FIGURES = (
    "learning_curve",
    "gate_timeline",
    "fig3a_errors",
    "calibration",
    "fig5_exchange",
    "fig6_concerted",
    "fig7_diffusivity",
    "fig8_arrhenius",
    "fig9_jumps_vs_msd",
    "site_occupancy",
    "van_hove",
    "table2_activation",
)
# Figures of runs with generations.
LOOP_FIGURES = ("gate_timeline",)
# Figures of runs with a density model.
DENSITY_FIGURES = (
    "density_errors",
    "density_slices",
    "fig3b_bader",
    "fig3c_histogram",
    "redox_table",
    "fig10_jump",
)
# Figures of runs on the material of the paper.
PAPER_FIGURES = ("paper_comparison",)
# Figures of runs with basin hopping.
BASINS_FIGURES = ("orderings",)
# Figures of runs with several production cells.
CELL_FIGURES = ("cell_sizes",)
# Figures of runs with NEB paths.
NEB_FIGURES = ("fig4_neb",)
# Figures of runs with cross-validation.
FOLD_FIGURES = ("left_out_errors",)
# Figures of runs whose potentials distinguish oxidation states.
STATE_FIGURES = ("electron_hops",)
# Figures of runs with a moment network.
MOMENT_FIGURES = ("moment_network",)
EVERY_FIGURE = (
    *(FIGURES + FOLD_FIGURES + CELL_FIGURES + BASINS_FIGURES + NEB_FIGURES),
    *(STATE_FIGURES + MOMENT_FIGURES + DENSITY_FIGURES + PAPER_FIGURES),
)


def figures_of(config: Config) -> tuple[str, ...]:
    """Names of the figures of a run."""
    paper = PAPER_FIGURES if config.structures.source == "nvp" else ()
    paths, electrons = NEB_FIGURES if config.neb.paths else (), DENSITY_FIGURES if config.density.enabled else ()
    walks = BASINS_FIGURES if config.basins.enabled else ()
    cells = CELL_FIGURES if len({grid.supercell for grid in config.production.grids}) > 1 else ()
    folds = FOLD_FIGURES if config.train.folds else ()
    states = STATE_FIGURES if config.train.states == "aware" else ()
    moments = MOMENT_FIGURES if config.electrons.moments.enabled else ()
    own = tuple(name for name in FIGURES if config.has_loop or name not in LOOP_FIGURES)
    return own + folds + cells + walks + paths + states + moments + electrons + paper


def first_page_figures(config: Config) -> tuple[str, ...]:
    """Names of the figures of the first page: convergence, D over temperature, and electrons (without them, errors)."""
    electrons = "fig3c_histogram" if config.density.enabled else "fig3a_errors"
    return "learning_curve", "fig8_arrhenius", "electron_hops" if config.train.states == "aware" else electrons
