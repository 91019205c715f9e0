"""Section `aimd`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

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


class WarmUp(Section):
    """MD with a potential before the reference MD."""

    steps: int = Field(default=0, ge=0, description="MD steps; 0: the reference MD starts from the ideal structure")
    timestep_fs: TimestepFs = Field(default=1.0, description="MD time step")
    potential: str = Field(
        default="chgnet.model.dynamics.CHGNetCalculator",
        description="ensemble.pt of an earlier run, or the import path of an ASE calculator",
    )
    keywords: dict[str, Any] = Field(default={}, description="keyword arguments of the ASE calculator")


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
    temperature_K: Annotated[TemperatureK, Use("aimd", "warm_up")] = Field(
        default=1000.0, description="Langevin thermostat"
    )
    friction_per_fs: Annotated[Positive, Use("aimd", "warm_up")] = Field(default=0.02, description="Langevin friction")
    density_every: int = Field(default=1, ge=0, description="keep the density of every k-th frame; 0: none")
    warm_up: Annotated[WarmUp, Use("warm_up", added=True)] = Field(
        default=WarmUp(), description="MD with a potential before the reference MD"
    )
