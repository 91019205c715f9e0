"""Section `gate`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from redoxmd.config.sections.base import LIMIT, Section, Use


class Gate(Section):
    """Convergence of the loop."""

    read_by: ClassVar = ("gate",)

    max_generations: Annotated[int, Use(runtime=LIMIT)] = Field(
        default=10,
        ge=1,
        le=1000,
        description="largest number of generations; a loop that has not converged by then ends with an error",
    )
    min_generations: int = Field(
        default=1, ge=1, description="smallest number of generations; all but the last are labelled"
    )
    max_candidates_per_ps: float = Field(
        default=1.0, ge=0.0, description="largest number of candidates per ps of explored time for convergence"
    )

    @model_validator(mode="after")
    def _enough_generations(self) -> Gate:
        if self.min_generations > self.max_generations:
            raise ValueError(
                f"min_generations ({self.min_generations}) exceeds max_generations ({self.max_generations})"
            )
        return self
