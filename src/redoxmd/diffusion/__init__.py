"""Jumps of the mobile ions, diffusion coefficients from jumps and from the MSD, and activation energies."""

from redoxmd.faces import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "analysis": ("Summary", "analyse_trajectory", "diffusivities_by_cell", "summarise"),
        "arrhenius": ("ArrheniusFit", "fit_arrhenius", "fit_msd"),
        "jumps": ("Jumps", "diffusion_from_jumps", "find_jumps", "without_drift"),
        "mechanism": ("Event", "find_event"),
        "msd": ("collective_coordinate", "mean_squared_displacement"),
        "line_fit": ("LineFit", "fit_line"),
        "sites": ("SiteMap", "source_sites"),
    },
)
