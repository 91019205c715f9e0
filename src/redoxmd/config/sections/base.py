"""Types and the base class of all sections."""

from __future__ import annotations

from typing import Annotated

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


class Section(BaseModel):
    """A part of the config: unknown keys are refused, values are fixed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
