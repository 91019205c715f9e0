"""Section `label`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from redoxmd.config.sections.base import LIMIT, Count, Fraction, Positive, Section, TemperatureK, TimestepFs, Use


class Label(Section):
    """A short reference MD from each selected frame (paper: 25 steps)."""

    read_by: ClassVar = ("label",)

    steps: Count = Field(default=25, description="MD steps from each frame")
    timestep_fs: TimestepFs = Field(default=0.5, description="MD time step")
    temperature_K: TemperatureK = Field(default=1000.0, description="Langevin thermostat")
    friction_per_fs: Positive = Field(default=0.02, description="Langevin friction")
    density_every: int = Field(default=25, ge=0, description="keep the density of every k-th frame; 0: none")
    failure_budget: Annotated[Fraction, Use(runtime=LIMIT)] = Field(
        default=0.2, description="share of the requested labels of a generation that may be refused"
    )
