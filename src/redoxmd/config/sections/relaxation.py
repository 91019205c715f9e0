"""Settings of a relaxation, shared by `basins` and `neb`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from redoxmd.config.sections.base import LIMIT, Count, Positive, Section, Use


class Relaxation(Section):
    """Relaxation of structures with the ensemble, at constant cell."""

    optimizer: Literal["FIRE", "LBFGS"] = Field(
        default="FIRE", description="optimiser of ASE; LBFGS needs fewer steps, FIRE tolerates worse starts"
    )
    force_tolerance_eV_A: Positive = Field(default=0.05, description="largest force on an atom of a relaxed structure")
    max_relax_steps: Annotated[Count, Use("basins", "neb_explore", runtime=LIMIT)] = Field(
        default=500, description="largest number of steps; a structure that needs more is not relaxed"
    )
