"""Types and base classes of the sections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from redoxmd.structures.content import parse_content

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
TemperatureK = Annotated[float, Field(gt=0.0, le=5000.0)]
TimestepFs = Annotated[float, Field(gt=0.0, le=5.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
Repeats = tuple[Count, Count, Count]
# Mobile ions per formula unit: a number or, as text, a fraction.
Content = Annotated[
    float,
    BeforeValidator(parse_content),
    Field(ge=0.0),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\d+/\d+$"}]}),
]


@dataclass(frozen=True)
class Use:
    """Mark of a setting that is not used as its section is (`Section.read_by`).

    Attributes:
        rules: rules that declare it, so that their results are stale when it changes; none where it only says which
            jobs there are.
        runtime: why jobs may read it undeclared (`redoxmd.config.declared.runtime_settings`) and no result is stale for
            it; "" where they may not.
        added: whether results were recorded before the setting existed; it is then declared only where it differs from
            its default, so that those results stay valid.
    """

    rules: tuple[str, ...]
    runtime: str
    added: bool

    def __init__(self, *rules: str, runtime: str = "", added: bool = False) -> None:
        object.__setattr__(self, "rules", rules)
        object.__setattr__(self, "runtime", runtime)
        object.__setattr__(self, "added", added)


LIMIT = "a limit at which a stage stops: finished results stay valid, and stopped jobs resume"
PROCESSOR = "selects the processor: equal numbers within rounding"
COMMON_KPOINTS = "determines the common k-point grid, which the settings hash contains"


class Section(BaseModel):
    """A part of the config: unknown keys are refused, values are fixed once read.

    `read_by` names the rules that declare its settings, those apart that carry a mark `Use` of their own.
    """

    read_by: ClassVar[tuple[str, ...]] = ()
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class Relaxation(Section):
    """Relaxation of structures with the ensemble, at constant cell; shared by `basins` and `neb`."""

    optimizer: Literal["FIRE", "LBFGS"] = Field(
        default="FIRE", description="optimiser of ASE; LBFGS needs fewer steps, FIRE tolerates worse starts"
    )
    force_tolerance_eV_A: Positive = Field(default=0.05, description="largest force on an atom of a relaxed structure")
    max_relax_steps: Annotated[Count, Use("basins", "neb_explore", runtime=LIMIT)] = Field(
        default=500, description="largest number of steps; a structure that needs more is not relaxed"
    )
