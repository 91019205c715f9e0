"""Section `pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from redoxmd.config.sections.base import Count, Positive, Repeats, Section, TemperatureK, TimestepFs, Use
from redoxmd.config.sections.structures import Start


class Pretrain(Section):
    """Training on labels of a potential, the teacher, before generation 0."""

    read_by: ClassVar = ("pretrain_frames",)

    enabled: Annotated[bool, Use()] = Field(
        default=False, description="true: generation 0 starts from members trained on labels of the teacher"
    )
    potential: str = Field(
        default="chgnet.model.dynamics.CHGNetCalculator",
        description="the teacher: the import path of an ASE calculator, or ensemble.pt of an earlier run",
    )
    members: Annotated[Path | None, Use()] = Field(
        default=None,
        description="folder with member0.pt, … trained on labels of the teacher, as results/RUN/pretrain of an earlier "
        "run: nothing is labelled and pretrained again; null: by this run",
    )
    keywords: dict[str, Any] = Field(default={}, description="keyword arguments of the ASE calculator")
    starts: Annotated[tuple[Start, ...], Use()] = Field(
        default=(Start(x=3.0),),
        min_length=1,
        description="structures that the teacher labels; they are to cover all x of the run",
    )
    supercell: Annotated[Repeats, Use()] = Field(default=(1, 1, 1), description="repeats of the source cell")
    steps: int = Field(default=1000, ge=0, description="MD steps of the teacher at each temperature")
    timestep_fs: TimestepFs = Field(default=1.0, description="MD time step")
    temperatures_K: tuple[TemperatureK, ...] = Field(
        default=(1000.0,), min_length=1, description="temperatures of the MD of each structure, one after another"
    )
    friction_per_fs: Positive = Field(default=0.02, description="Langevin friction")
    frame_every: Count = Field(default=20, description="every k-th MD step becomes a frame")
    rattled: int = Field(default=10, ge=0, description="frames with randomly displaced atoms, of each structure")
    rattle_A: Positive = Field(
        default=0.1,
        description="standard deviation of these displacements along each axis; atoms come closer than in MD",
    )
    validation_fraction: Annotated[float, Use("pretrain")] = Field(
        default=0.1, gt=0.0, lt=0.5, description="share of the frames in the validation set, as in train"
    )
    learning_rate: Annotated[float, Use("pretrain")] = Field(
        default=1e-3,
        gt=0.0,
        lt=1.0,
        description="initial learning rate of Adam; train.learning_rate is for generation 0",
    )
    max_steps: Annotated[Count, Use("pretrain")] = Field(
        default=100_000, description="largest number of gradient steps; train.max_steps is for generation 0"
    )
