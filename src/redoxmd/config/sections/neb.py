"""Section `neb`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from redoxmd.config.sections.base import (
    COMMON_KPOINTS,
    LIMIT,
    Content,
    Count,
    Fraction,
    Positive,
    Relaxation,
    Repeats,
    Section,
    TemperatureK,
    Use,
)
from redoxmd.structures.content import Ordering


class NebEvent(Section):
    """A site change in a production trajectory, as `diffusion/events.csv` lists them."""

    x: Content = Field(description="x of the trajectory")
    temperature_K: TemperatureK = Field(description="temperature of the trajectory")
    replica: int = Field(default=0, ge=0, description="replica of the trajectory")
    number: int = Field(ge=0, description="number of the site change, column number of diffusion/events.csv")


# Tagged, so that a refusal is reported for the intended form only.
WORD, MAPPING = "(a word)", "(a mapping)"
AutoOrEvent = Annotated[
    Annotated[Literal["auto"], Tag(WORD)] | Annotated[NebEvent, Tag(MAPPING)],
    Discriminator(lambda value: WORD if isinstance(value, str) else MAPPING),
]


class NebPath(Section):
    """A path between two structures: ions move from site to site, to where a file has them, or as they did in an MD."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="short name, used in file names")
    x: Content | None = Field(
        default=None,
        description="mobile ions per formula unit; with event: auto, only trajectories with this x are "
        "searched, null: all",
    )
    ordering: Ordering = Field(
        default="preferred", description="ordering of the initial structure, as in explore.phases"
    )
    seed: int = Field(default=0, description="seed of the ordering")
    moves: tuple[tuple[str, str], ...] = Field(
        default=(),
        description="[from, to] for each ion that moves, all at the same time; Na2:3 is the fourth Na2 site "
        "of the cell",
    )
    final: Path | None = Field(
        default=None, description="instead of moves: extended XYZ with the final structure, atoms in the same order"
    )
    event: AutoOrEvent | None = Field(
        default=None,
        description="instead of moves: frames before and after an event of production, in its cell; auto: the clearest "
        "one (an exchange, else neighbouring jumps, else one jump), or {x, temperature_K, replica, number}",
    )

    @model_validator(mode="after")
    def _one_end(self) -> NebPath:
        if [bool(self.moves), self.final is not None, self.event is not None].count(True) != 1:
            raise ValueError("give moves, final or event, one of them: it says where the path ends")
        if self.event is None and self.x is None:
            raise ValueError("x is missing: the path starts from a structure of this concentration")
        if isinstance(self.event, NebEvent) and self.x is not None:
            raise ValueError("x follows from event, which names a trajectory; leave the key x out")
        return self


class Neb(Relaxation):
    """Barriers by climbing-image NEB with the ensemble, the reference beside it (paper, section 3.3)."""

    read_by: ClassVar = ("neb", "neb_explore")

    paths: Annotated[tuple[NebPath, ...], Use()] = Field(
        default=(), description="one band for each path; empty: the stage is skipped"
    )
    supercell: Annotated[Repeats, Use("neb_explore", runtime=COMMON_KPOINTS)] = Field(
        default=(1, 1, 1), description="repeats of the source cell; paths of an event are in the cell of production"
    )
    images: int = Field(default=9, ge=3, le=99, description="structures along a path, both ends included")
    spring_eV_A2: Positive = Field(default=0.1, description="spring constant between neighbouring images")
    max_band_steps: Annotated[Count, Use("neb_explore", runtime=LIMIT)] = Field(
        default=1000, description="largest number of steps of the band; a band that needs more has not converged"
    )
    electrons: Annotated[Literal["follow", "frozen"], Use("neb", "neb_explore", added=True)] = Field(
        default="follow",
        description="with train.states: aware; follow: each image is in its lowest state of the electrons, which in an "
        "event starts from the states recorded at its ends; frozen: all images are in the state of the initial end: "
        "the recorded or given one, or its lowest",
    )
    reference: Annotated[bool, Use()] = Field(
        default=True, description="also calculate a single point of the reference method on every image"
    )
    train_phases: Annotated[tuple[str, ...], Use(runtime=COMMON_KPOINTS)] = Field(
        default=(),
        description="phases of explore in whose generations the paths given by moves or final are found too: images "
        "between explore.low_eV_A and high_eV_A become candidates for labels; none: paths are found at the end only",
    )
    max_candidate_images: Annotated[Fraction, Use("neb_explore")] = Field(
        default=0.0,
        description="largest share of a path's images that may be candidates at convergence",
    )

    @field_validator("paths")
    @classmethod
    def _different_names(cls, value: tuple[NebPath, ...]) -> tuple[NebPath, ...]:
        names = [path.name for path in value]
        if len(set(names)) != len(names):
            raise ValueError(f"need different names, got {names}")
        return value
