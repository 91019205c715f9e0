"""Which figures a run has; imports nothing that draws, for the workflow asks at every parse."""

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
# Drawn where the density model is on.
DENSITY_FIGURES = (
    "density_errors",
    "density_slices",
    "fig3b_bader",
    "fig3c_histogram",
    "redox_table",
    "fig10_jump",
)
# Drawn where the material is the paper's.
PAPER_FIGURES = ("paper_comparison",)
# Drawn where basins are hopped.
BASINS_FIGURES = ("orderings",)
# Drawn where production has trajectories of another cell.
CELL_FIGURES = ("cell_sizes",)
# Drawn where there are paths.
NEB_FIGURES = ("fig4_neb",)
# Drawn where configurations are left out in turn.
FOLD_FIGURES = ("left_out_errors",)
EVERY_FIGURE = FIGURES + FOLD_FIGURES + CELL_FIGURES + BASINS_FIGURES + NEB_FIGURES + DENSITY_FIGURES + PAPER_FIGURES


def figures_of(config: Config) -> tuple[str, ...]:
    """Names of the figures of a run."""
    of_paper = PAPER_FIGURES if config.structures.source == "nvp" else ()
    paths, electrons = NEB_FIGURES if config.neb.paths else (), DENSITY_FIGURES if config.density.enabled else ()
    walks = BASINS_FIGURES if config.basins.enabled else ()
    cells = CELL_FIGURES if len({part.supercell for part in config.production.grids}) > 1 else ()
    folds = FOLD_FIGURES if config.train.folds else ()
    return FIGURES + folds + cells + walks + paths + electrons + of_paper
