"""Section `aimd`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from redoxmd.config.sections.base import (
    COMMON_KPOINTS,
    Count,
    Positive,
    Repeats,
    Section,
    TemperatureK,
    TimestepFs,
    Use,
)
from redoxmd.config.sections.structures import Start


class Aimd(Section):
    """Reference MD that starts the training set (paper: 30 runs of 500 steps)."""

    read_by: ClassVar = ("aimd",)

    starts: Annotated[tuple[Start, ...], Use()] = Field(
        default=(Start(x=3.0),), min_length=1, description="one run for each structure"
    )
    supercell: Annotated[Repeats, Use(runtime=COMMON_KPOINTS)] = Field(
        default=(1, 1, 1), description="repeats of the source cell"
    )
    steps: Count = Field(default=500, description="MD steps of a run")
    timestep_fs: TimestepFs = Field(default=0.5, description="MD time step")
    temperature_K: TemperatureK = Field(default=1000.0, description="Langevin thermostat")
    friction_per_fs: Positive = Field(default=0.02, description="Langevin friction")
    density_every: int = Field(default=1, ge=0, description="keep the density of every k-th frame; 0: none")
