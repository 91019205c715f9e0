"""Section `electrons`: oxidation states of the redox elements."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from redoxmd.config.sections.base import Count, Positive, Section, Use

# Rules that assign oxidation states from moments.
WITH_LEVELS = (
    *("dataset", "ensemble", "density_dataset", "moments", "moment_fold", "moment_errors", "moment_check"),
    "pretrain_frames",
)
# Rules in which electrons follow the ions.
WITH_MOVES = ("explore", "production", "basins", "neb", "neb_explore", "pretrain_frames")


class OxidationState(Section):
    """Moments of an atom in one oxidation state."""

    moment_muB: float = Field(ge=0.0, description="on-site moment |m| that the engine gives, the centre of the level")
    initial_muB: float | None = Field(
        default=None,
        description="initial moment; null: moment_muB, rounded if that distinguishes the states of the element",
    )

    @property
    def start_muB(self) -> float:
        """Initial moment of an atom in this state."""
        return float(round(self.moment_muB)) if self.initial_muB is None else self.initial_muB


class Moments(Section):
    """The moment network: on-site moments of the redox atoms from the geometry alone."""

    read_by: ClassVar = ("moments", "moment_fold")

    enabled: Annotated[bool, Use()] = Field(
        default=False,
        description="train the moment network on the last data set, evaluate it, and compare its states with those of "
        "the trajectories (train.states: aware)",
    )
    folds: Annotated[int, Use("moment_fold")] = Field(
        default=0,
        ge=0,
        description="folds of its cross-validation by configuration; with as many folds as configurations it is "
        "leave-one-out; 0: none",
    )
    features: int = Field(default=32, ge=4, le=1024, description="number of features F")
    layers: int = Field(default=1, ge=1, le=12, description="interaction layers L")
    cutoff_A: float = Field(
        default=3.0,
        gt=1.0,
        le=12.0,
        description="cutoff radius of neighbours; the first shell, because with few configurations a network that sees "
        "farther learns the composition instead of the bonds",
    )
    radial_functions: int = Field(default=8, ge=3, le=64, description="number of radial basis functions")
    learning_rate: float = Field(default=5e-4, gt=0.0, lt=1.0, description="initial learning rate of Adam")
    batch_size: Count = Field(default=4, description="structures per gradient step")
    max_steps: Count = Field(default=20_000, description="largest number of gradient steps")
    validate_every: Count = Field(default=50, description="gradient steps between validations")
    patience: Count = Field(default=20, description="validations without improvement before stopping")
    decay_factor: float = Field(default=0.5, gt=0.0, lt=1.0, description="factor of the learning rate on a plateau")
    decay_patience: Count = Field(default=10, description="validations without improvement before a decay")
    ema_decay: float = Field(
        default=0.99, ge=0.0, lt=1.0, description="exponential moving average of the weights; 0: none"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: a GPU if there is one")


class Electrons(Section):
    """Oxidation states: their assignment to labels and the check of each label's electronic state."""

    read_by: ClassVar = ("dataset", "explore", "production")

    levels: Annotated[dict[str, dict[Count, OxidationState]], Use(*WITH_LEVELS, added=True)] = Field(
        default={},
        description="redox element → oxidation number → moments; frames that are not in a neutral state of these are "
        "refused (wrong_electronic_state); {}: oxidation states are neither assigned nor checked",
    )
    fixed: Annotated[dict[str, int], Use(*WITH_LEVELS, added=True)] = Field(
        default={"Na": 1, "P": 5, "O": -2}, description="oxidation number of every other element"
    )

    least_orbital_gap: Annotated[float | None, Use(*WITH_LEVELS, added=True)] = Field(
        default=0.3,
        gt=0.0,
        lt=1.0,
        description="smallest difference between the occupations of the last filled and the first empty d orbital of "
        "an ion; labels below it are refused (wrong_electronic_state), for engines that give occupations with +U; "
        "null: not judged, for ions with holes on their ligands",
    )
    tries: Annotated[Count, Use(runtime="accepted labels stay valid")] = Field(
        default=3,
        description="number of starts of the electrons of a frame, until its electronic state is right: from the "
        "previous electrons, from the charge order of the frame before (GPAW: without +U in the first SCF), from "
        "orders drawn at random",
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
    reach_A: Annotated[Positive, Use(*WITH_MOVES, added=True)] = Field(
        default=6.5, description="largest distance of two redox atoms that exchange an electron"
    )

    return_fs: Annotated[float, Use("hops")] = Field(
        default=100.0, ge=0.0, description="a hop that the next hop reverses within this time is rattling"
    )

    moments: Annotated[Moments, Use()] = Field(default=Moments(), description="moment network; it needs levels")

    @model_validator(mode="after")
    def _levels_differ(self) -> Electrons:
        if self.moments.enabled and not self.levels:
            raise ValueError("moments: the moment network needs levels, the oxidation states and their moments")
        for element, states in self.levels.items():
            if element in self.fixed:
                raise ValueError(f"{element} has an oxidation number in fixed and states in levels; remove one of them")
            moments = [state.moment_muB for state in states.values()]
            if len(set(moments)) < len(moments):
                raise ValueError(f"levels of {element}: two states with the same moment_muB cannot be distinguished")
        return self
