"""Section `diffusion`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from redoxmd.config.sections.base import Count, Fraction, Positive, Section, Use

FITS = Use("diffusion", "cell_sizes")


class Diffusion(Section):
    """Jumps, diffusion coefficients and activation energies."""

    read_by: ClassVar = ("jumps", "diffusion", "cell_sizes", "fig5_exchange", "neb_event")

    jump_distance_A: Positive = Field(default=3.0, description="an ion farther than this from its site has jumped")
    persistence_fs: float = Field(default=100.0, ge=0.0, description="time it must stay there to count")
    concerted_window_ps: Positive = Field(default=1.0, description="two jumps within this are concerted")
    concerted_distance_A: Positive = Field(
        default=4.0, description="concerted jumps are neighbours when sites of theirs are this close"
    )
    site_reference: Literal["source", "visited"] = Field(
        default="source", description="sites are those of the source cell, or found where the ions have been"
    )
    site_radius_A: Positive = Field(
        default=1.5,
        description="an ion this close to its nearest site is there, and has changed to it after persistence_fs",
    )
    return_fs: float = Field(
        default=1000.0, ge=0.0, description="a change of site taken back within this is rattling, not transport"
    )
    msd_fit: tuple[Fraction, Fraction] = Field(
        default=(0.1, 0.5),
        description="part of the trajectory length over which the MSD is fitted, from where it grows as time does",
    )
    van_hove_lags_ps: tuple[Positive, ...] = Field(
        default=(1.0, 10.0, 100.0),
        min_length=1,
        description="lag times of the van Hove functions; limited to half of a trajectory",
    )
    min_jumps_to_fit: Annotated[Count, FITS] = Field(
        default=2, description="points with fewer jumps are drawn as limits"
    )
    min_temperatures_to_fit: Annotated[int, FITS] = Field(default=3, ge=2, description="fewer refuse the Arrhenius fit")

    @model_validator(mode="after")
    def _fit_window(self) -> Diffusion:
        if self.msd_fit[0] >= self.msd_fit[1]:
            raise ValueError(f"msd_fit must grow, got {list(self.msd_fit)}")
        return self
