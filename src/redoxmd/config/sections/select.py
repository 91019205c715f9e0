"""Section `select`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from redoxmd.config.sections.base import Count, Positive, Section, Use


class Select(Section):
    """Selection of the candidates to label."""

    read_by: ClassVar = ("select", "gate")

    budget: Count = Field(default=214, description="largest number of labels per generation")
    duplicate_tolerance_A: Positive = Field(
        default=0.05, description="geometries are equal if all interatomic distances agree within about this"
    )
    novelty: Annotated[Literal["mean", "atoms"], Use("select", added=True)] = Field(
        default="mean",
        description="mean: candidates far apart in the mean features of their atoms; atoms: candidates with the atom "
        "whose features are farthest from those of all atoms of its species in the training data and in the candidates "
        "chosen before",
    )
    other_states: Annotated[float, Use("select", added=True)] = Field(
        default=0.0,
        ge=0.0,
        le=0.5,
        description="share of the budget for second labels of selected geometries in another charge order, the one of "
        "lowest energy that one exchange of an electron gives; with train.states: aware",
    )
