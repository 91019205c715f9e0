"""Section `production`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, model_validator

from redoxmd.config.sections.base import Content, Count, Positive, Repeats, Section, TemperatureK, TimestepFs, Use
from redoxmd.structures.content import Ordering


def _distinct(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(values)) != len(values):
        raise ValueError(f"has repeated values: {list(values)}")
    return values


Contents = Annotated[tuple[Content, ...], Field(min_length=1), AfterValidator(_distinct)]
TemperaturesK = Annotated[tuple[TemperatureK, ...], Field(min_length=1), AfterValidator(_distinct)]


class Trajectories(Section):
    """Trajectories beside those of the grid, in another cell (to test its size) or of another length."""

    x: Contents = Field(description="mobile ions per formula unit")
    temperatures_K: TemperaturesK = Field(description="one trajectory for each temperature")
    replicas: Count = Field(default=1, description="number of starting orderings per x and temperature")
    supercell: Repeats = Field(description="repeats of the source cell")
    length_ps: Positive | None = Field(default=None, description="null: production.length_ps")


class Production(Section):
    """Nanosecond MD over concentration, temperature and replica."""

    read_by: ClassVar = ("production",)

    x: Annotated[Contents, Use()] = Field(
        default=tuple(1.0 + i / 8 for i in range(17)), description="mobile ions per formula unit"
    )
    temperatures_K: Annotated[TemperaturesK, Use()] = Field(
        default=(300.0, 400.0, 500.0, 600.0), description="one trajectory for each temperature"
    )
    replicas: Annotated[Count, Use()] = Field(
        default=3, description="number of starting orderings per x and temperature"
    )
    ordering: Ordering = Field(default="preferred", description="ordering of the starts, as in explore.phases")
    supercell: Repeats = Field(default=(2, 2, 2), description="repeats of the source cell")
    length_ps: Positive = Field(default=1000.0, description="trajectory length after equilibration")
    more: Annotated[tuple[Trajectories, ...], Use()] = Field(
        default=(),
        description="trajectories in addition to this grid: [{x, temperatures_K, replicas, supercell, length_ps}, …]",
    )
    equilibration_ps: float = Field(default=5.0, ge=0.0, description="length of the MD before the recorded trajectory")
    timestep_fs: TimestepFs = Field(default=0.5, description="MD time step")
    friction_per_fs: Positive = Field(default=0.002, description="Langevin friction")
    save_every_fs: Positive = Field(default=50.0, description="interval of the saved frames")
    stop_above_eV_A: Positive = Field(default=5.0, description="force spread that ends a trajectory")
    checkpoint_every_s: Annotated[Positive, Use(runtime="the interval between restart states")] = Field(
        default=300.0, description="wall time between restart files"
    )

    @property
    def grids(self) -> tuple[Production | Trajectories, ...]:
        """All grids of x × T × replica: its own and those of `more`."""
        return (self, *self.more)

    @model_validator(mode="after")
    def _each_once(self) -> Production:
        earlier: set[tuple[float, float, Repeats]] = set()
        for item in self.grids:
            grid = {(x, kelvin, item.supercell) for x in item.x for kelvin in item.temperatures_K}
            if twice := earlier & grid:
                x, kelvin, supercell = min(twice)
                raise ValueError(
                    f"more: x = {x:g} at {kelvin:g} K in a cell of {list(supercell)} is there already; "
                    "raise its replicas instead"
                )
            earlier |= grid
        return self
