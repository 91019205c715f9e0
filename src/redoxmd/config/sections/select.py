"""Section `select`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from redoxmd.config.sections.base import Count, Positive, Section


class Select(Section):
    """Selection of the candidates to label."""

    read_by: ClassVar = ("select", "gate")

    budget: Count = Field(default=214, description="largest number of labels per generation")
    duplicate_tolerance_A: Positive = Field(
        default=0.05, description="geometries are equal if all interatomic distances agree within about this"
    )
