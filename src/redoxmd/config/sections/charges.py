"""Section `charges`."""

from __future__ import annotations

from pydantic import Field, model_validator

from redoxmd.config.sections.base import Count, Fraction, Positive, Section


class Charges(Section):
    """Bader charges and oxidation states, of the reference densities and along the trajectories."""

    every_fs: float = Field(default=1000.0, ge=0.0, description="interval of frames along a trajectory; 0: none")
    max_jumps: int = Field(default=4, ge=0, description="jumps of each trajectory that are looked at frame by frame")
    jump_window_fs: Positive = Field(default=500.0, description="time before and after such a jump")
    spacing_A: float = Field(
        default=0.15, gt=0.02, le=0.4, description="grid of predicted densities; beyond 0.2 Å shallow basins are lost"
    )
    region_radius_A: Positive | None = Field(
        default=2.0,
        description="ask the network this close to the redox element, superposed atoms elsewhere; null: everywhere",
    )
    exact_moment: bool = Field(
        default=False, description="scale the spin to the total moment that structures.moments_* give"
    )
    states: tuple[int, int] = Field(default=(3, 4), description="the two oxidation states of the redox element")
    ligand: str = Field(default="O", description="element bonded to the redox element")
    n_ligands: Count = Field(default=6, description="how many of them")
    low: Fraction = Field(default=0.2, description="probability of the higher state below which an atom turns lower")
    high: Fraction = Field(default=0.8, description="probability above which it turns higher; between, nothing changes")
    persistence_fs: float = Field(default=40.0, ge=0.0, description="time a new state must last to count")
    pair_window_fs: Positive = Field(default=200.0, description="largest time between both sides of an electron hop")
    hop_window_fs: Positive = Field(default=1000.0, description="largest time between a hop and its jump")

    @model_validator(mode="after")
    def _limits_in_order(self) -> Charges:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must lie below high ({self.high:g})")
        if self.states[0] >= self.states[1]:
            raise ValueError(f"states: the lower one first, got {list(self.states)}")
        return self
