"""Section `basins`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from redoxmd.config.sections.base import Count, Fraction, Positive, Relaxation, TemperatureK, Use


class Basins(Relaxation):
    """Basin hopping with the ensemble: production starts from the lowest structure found (paper, section 2.3)."""

    read_by: ClassVar = ("basins",)

    enabled: Annotated[bool, Use()] = Field(
        default=False,
        description="true: production starts from the lowest structures found; false: from the structures as built",
    )
    steps: Count = Field(default=100, description="steps of basin hopping from each structure")
    hop_fraction: Fraction = Field(
        default=0.5, description="share of steps that move one ion to an empty site; the others displace all ions"
    )
    displacement_A: Positive = Field(default=0.5, description="displacement of each ion, in a random direction")
    temperature_K: TemperatureK = Field(
        default=1000.0, description="temperature of the Metropolis criterion between relaxed structures"
    )
