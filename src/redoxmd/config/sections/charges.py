"""Section `charges`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from redoxmd.config.sections.base import Count, Fraction, Positive, Section, Use

# The rules that choose frames and predict their charges, and those that tell states and hops from the charges.
FRAMES, STATES = Use("charges"), Use("redox", "fig10_jump")
# Settings that hops from the states of a trajectory use as well.
HOPS = Use(*STATES.rules, "hops")


class Charges(Section):
    """Bader charges and oxidation states, of the reference densities and along the trajectories."""

    read_by: ClassVar = ("charges", "redox", "fig10_jump")

    every_fs: Annotated[float, FRAMES] = Field(
        default=1000.0, ge=0.0, description="interval of frames along a trajectory; 0: none"
    )
    max_jumps: Annotated[int, FRAMES] = Field(
        default=4, ge=0, description="jumps of each trajectory that are analysed frame by frame"
    )
    jump_window_fs: Positive = Field(default=500.0, description="time before and after such a jump")
    spacing_A: Annotated[float, FRAMES] = Field(
        default=0.15,
        gt=0.02,
        le=0.4,
        description="grid spacing of predicted densities; above 0.2 Å shallow basins are lost",
    )
    region_radius_A: Positive | None = Field(
        default=2.0,
        description="the network is evaluated within this distance of the redox element, elsewhere atoms are "
        "superposed; null: everywhere",
    )
    exact_moment: bool = Field(
        default=False, description="scale the spin to the total moment that structures.moments_* give"
    )
    states: Annotated[tuple[int, int], STATES] = Field(
        default=(3, 4), description="the two oxidation states of the redox element"
    )
    ligand: Annotated[str, HOPS] = Field(default="O", description="element bonded to the redox element")
    n_ligands: Annotated[Count, HOPS] = Field(default=6, description="number of bonded ligands")
    low: Annotated[Fraction, STATES] = Field(
        default=0.2, description="probability of the higher state below which an atom changes to the lower state"
    )
    high: Annotated[Fraction, STATES] = Field(
        default=0.8,
        description="probability above which an atom changes to the higher state; in between the state is kept",
    )
    persistence_fs: Annotated[float, STATES] = Field(
        default=40.0, ge=0.0, description="shortest duration of a new state"
    )
    pair_window_fs: Annotated[Positive, STATES] = Field(
        default=200.0, description="longest time between the two changes of state of an electron hop"
    )
    hop_window_fs: Annotated[Positive, HOPS] = Field(
        default=1000.0, description="longest time between a hop and its jump"
    )

    @model_validator(mode="after")
    def _limits_in_order(self) -> Charges:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must lie below high ({self.high:g})")
        if self.states[0] >= self.states[1]:
            raise ValueError(f"states: the lower one first, got {list(self.states)}")
        return self
