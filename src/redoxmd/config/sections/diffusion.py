"""Section `diffusion`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from redoxmd.config.sections.base import Count, Fraction, Positive, Section, Use

FITS = Use("diffusion", "cell_sizes")


class Diffusion(Section):
    """Jumps, diffusion coefficients and activation energies."""

    read_by: ClassVar = ("jumps", "diffusion", "cell_sizes", "fig5_exchange", "neb_event")

    jump_distance_A: Positive = Field(default=3.0, description="distance from its site beyond which an ion has jumped")
    persistence_fs: float = Field(default=100.0, ge=0.0, description="shortest time that it stays there")
    concerted_window_ps: Positive = Field(default=1.0, description="longest time between two concerted jumps")
    concerted_distance_A: Positive = Field(
        default=4.0, description="largest distance between sites of neighbouring concerted jumps"
    )
    site_reference: Literal["source", "visited"] = Field(
        default="source", description="source: sites of the source cell; visited: sites from the density of visits"
    )
    site_radius_A: Positive = Field(
        default=1.5,
        description="an ion within this distance of its nearest site is at the site, after persistence_fs",
    )
    return_fs: float = Field(
        default=1000.0, ge=0.0, description="a site change that is reversed within this time is rattling"
    )
    msd_fit: tuple[Fraction, Fraction] = Field(
        default=(0.1, 0.5),
        description="range of lags in which the MSD is fitted, as fractions of the trajectory length; start "
        "where the MSD grows linearly",
    )
    van_hove_lags_ps: tuple[Positive, ...] = Field(
        default=(1.0, 10.0, 100.0),
        min_length=1,
        description="lag times of the van Hove functions; limited to half of a trajectory",
    )
    min_jumps_to_fit: Annotated[Count, FITS] = Field(
        default=2, description="points with fewer jumps become upper limits"
    )
    min_temperatures_to_fit: Annotated[int, Use(*FITS.rules, "hop_rates")] = Field(
        default=3, ge=2, description="smallest number of temperatures for an Arrhenius fit"
    )

    @model_validator(mode="after")
    def _fit_window(self) -> Diffusion:
        if self.msd_fit[0] >= self.msd_fit[1]:
            raise ValueError(f"msd_fit must grow, got {list(self.msd_fit)}")
        return self
