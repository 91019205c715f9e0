"""Section `explore`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from redoxmd.config.sections.base import Positive, Repeats, Section, TemperatureK, TimestepFs, Use
from redoxmd.config.sections.structures import Start


class Phase(Section):
    """One size of cell explored until it converges, before the next."""

    name: str = Field(default="small", pattern=r"^[a-z0-9]+$", description="short name, used in file names")
    supercell: Repeats = Field(default=(1, 1, 1), description="repeats of the source cell")
    starts: tuple[Start, ...] = Field(
        default=tuple(Start(x=x) for x in (1.0, 1.5, 2.0, 2.5, 3.0)),
        min_length=1,
        description="one run for each structure",
    )
    length_ps: Positive = Field(default=50.0, description="length of a run; a run that reaches it is complete")


class Explore(Section):
    """Ensemble MD under the uncertainty gate."""

    read_by: ClassVar = ("explore", "gate")

    phases: Annotated[
        tuple[Phase, ...],
        Use(runtime="the gate reads the order of phases; generations are stale through the structures of their phase"),
    ] = Field(
        default=(Phase(), Phase(name="large", supercell=(2, 2, 2))),
        min_length=1,
        description="phases in order; a phase ends when the gate finds it converged",
    )
    low_eV_A: Positive = Field(default=1.0, description="force spread above which a frame is a candidate")
    high_eV_A: Positive = Field(default=5.0, description="force spread above which the run ends")
    statistic: Literal["max", "mean"] = Field(
        default="max", description="spread of a frame: the largest or the mean spread of its atoms"
    )
    gate_on: Annotated[Literal["raw", "calibrated"], Use("explore", "gate", added=True)] = Field(
        default="raw",
        description="raw: the thresholds are for the spread, as in the paper; calibrated: for the bound of the force "
        "error, the spread times a factor from the validation frames (conformal prediction); paths and basins use the "
        "spread",
    )
    gate_coverage: Annotated[float, Use("explore", "gate", added=True)] = Field(
        default=0.9,
        gt=0.0,
        lt=1.0,
        description="with gate_on: calibrated, share of frames whose error the bound covers",
    )
    temperature_K: TemperatureK = Field(default=1000.0, description="Langevin thermostat")
    timestep_fs: TimestepFs = Field(default=0.5, description="MD time step")
    friction_per_fs: Positive = Field(default=0.02, description="Langevin friction")
    candidate_every_fs: Positive = Field(default=10.0, description="at most one candidate per interval")
    min_distance_fraction: float = Field(
        default=0.6, gt=0.0, lt=1.0, description="atoms closer than this fraction of their covalent radii end the run"
    )
    max_temperature_factor: float = Field(
        default=4.0, gt=1.0, description="a temperature above this multiple of the set temperature ends the run"
    )
    trace_every_fs: Positive = Field(default=10.0, description="interval of the recorded spread and temperature")
    keep_labelled: Annotated[bool, Use()] = Field(
        default=True,
        description="true: labelled generations keep their explore, select and gate settings, and changed settings "
        "apply from the next generation on; false: every generation whose settings differ is explored again",
    )

    @model_validator(mode="after")
    def _thresholds_in_order(self) -> Explore:
        if self.low_eV_A >= self.high_eV_A:
            raise ValueError(
                f"low_eV_A ({self.low_eV_A:g}) must lie below high_eV_A ({self.high_eV_A:g}); the paper has 1 and 5"
            )
        if self.gate_on == "raw" and self.gate_coverage != type(self).model_fields["gate_coverage"].default:
            raise ValueError(
                "gate_coverage has an effect only with gate_on: calibrated; set it, or remove gate_coverage"
            )
        names = [phase.name for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError(f"phases need different names, got {names}")
        return self
