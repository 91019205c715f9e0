"""Section `electrons`: oxidation states of the redox elements."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from redoxmd.config.sections.base import Count, Positive, Section, Use


class OxidationState(Section):
    """Moments of an atom in one oxidation state."""

    moment_muB: float = Field(ge=0.0, description="on-site moment |m| that the engine gives, the centre of the level")
    initial_muB: float | None = Field(default=None, description="initial moment; null: moment_muB, rounded")

    @property
    def start_muB(self) -> float:
        """Initial moment of an atom in this state."""
        return float(round(self.moment_muB)) if self.initial_muB is None else self.initial_muB


class Electrons(Section):
    """Oxidation states: their assignment to labels and the check of each label's electronic state."""

    read_by: ClassVar = ("dataset", "explore", "production")

    levels: Annotated[dict[str, dict[Count, OxidationState]], Use("dataset", "density_dataset", added=True)] = Field(
        default={},
        description="redox element → oxidation number → moments; frames that are not in a neutral state of these are "
        "refused (wrong_electronic_state); {}: oxidation states are neither assigned nor checked",
    )
    fixed: Annotated[dict[str, int], Use("dataset", "density_dataset", added=True)] = Field(
        default={"Na": 1, "P": 5, "O": -2}, description="oxidation number of every other element"
    )

    tries: Annotated[Count, Use(runtime="accepted labels stay valid")] = Field(
        default=3,
        description="number of starts of the electrons of a frame, until its electronic state is right: from the "
        "previous electrons, from the charge order of the frame before, from orders drawn at random",
    )

    md: Annotated[Literal["lowest", "thermal", "frozen"], Use("explore", "production", added=True)] = Field(
        default="lowest",
        description="electrons in MD with train.states: aware; lowest: swaps of neighbours that lower the energy, as "
        "in Born–Oppenheimer MD; thermal: Metropolis swaps at the temperature of the ions; frozen: the starting state",
    )
    move_every_fs: Annotated[Positive, Use("explore", "production", added=True)] = Field(
        default=10.0, description="time between moves of the electrons"
    )
    hop_spread_eV: Annotated[Positive, Use("explore", added=True)] = Field(
        default=0.2,
        description="spread between members of the energy of a hop, above which explore collects the frame as two "
        "candidates, before and after the hop",
    )
    reach_A: Annotated[Positive, Use("explore", "production", "basins", "neb", "neb_explore", added=True)] = Field(
        default=6.5, description="largest distance of two redox atoms that exchange an electron"
    )

    return_fs: Annotated[float, Use("hops")] = Field(
        default=100.0, ge=0.0, description="a hop that the next hop reverses within this time is rattling"
    )

    @model_validator(mode="after")
    def _levels_differ(self) -> Electrons:
        for element, states in self.levels.items():
            if element in self.fixed:
                raise ValueError(f"{element} has an oxidation number in fixed and states in levels; remove one of them")
            moments = [state.moment_muB for state in states.values()]
            if len(set(moments)) < len(moments):
                raise ValueError(f"levels of {element}: two states with the same moment_muB cannot be distinguished")
        return self
