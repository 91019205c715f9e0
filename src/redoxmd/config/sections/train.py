"""Section `train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from redoxmd.config.sections.base import PROCESSOR, Count, Fraction, Section, Use


def replayed_frames(replay: float, batch_size: int) -> int:
    """Number of frames of the teacher in each batch."""
    return round(replay * batch_size)


class Member(Section):
    """Size of one ensemble member (paper, Table 1)."""

    features: int = Field(default=128, ge=4, le=1024, description="number of features F")
    layers: int = Field(default=3, ge=1, le=12, description="interaction layers L")


class Train(Section):
    """The ensemble of equivariant potentials."""

    read_by: ClassVar = ("train", "fold", "pretrain")

    members: Annotated[tuple[Member, ...], Use("fold")] = Field(
        default=(
            Member(features=128, layers=3),
            Member(features=148, layers=3),
            Member(features=128, layers=4),
            Member(features=148, layers=4),
        ),
        min_length=1,
        description="hyperparameters of each member; the spread needs at least two",
    )
    ensemble: Annotated[Path | None, Use()] = Field(
        default=None,
        description="ensemble.pt of an earlier run, used as it is: nothing is trained, explored or labelled, and its "
        "errors on train.datasets are reported; null: the loop",
    )
    datasets: Annotated[tuple[Path, ...], Use("dataset")] = Field(
        default=(),
        description="dataset folders (with dataset.yaml) to add to the labels of the run; same settings only",
    )
    test_configurations: Annotated[tuple[str, ...], Use("dataset")] = Field(
        default=(), description="configuration ids of the test set, excluded from training and validation"
    )
    exclude: Annotated[
        tuple[str, ...],
        Use("dataset", runtime="the rule dataset declares the exclusions that its generation can contain"),
    ] = Field(
        default=(),
        description="never trained on: frames as CONFIG_ID/STEP (suspects of train/gen*/suspects.csv found wrong), or "
        "whole configurations as CONFIG_ID",
    )
    work_imbalance_meV: Annotated[float | None, Use("dataset", added=True)] = Field(
        default=None,
        gt=0.0,
        description="largest mean of ΔE + work of the forces, in meV per MD step, of a reference run; runs that exceed "
        "it by more than two standard errors are left out as unconverged; null: no limit",
    )
    validation_configurations: Annotated[tuple[str, ...], Use("dataset", "fold", "moment_fold")] = Field(
        default=(),
        description="configuration ids used for early stopping and calibration of the spread; (): drawn by the seed",
    )
    validation_fraction: Annotated[float, Use("dataset", "fold", "moment_fold")] = Field(
        default=0.01,
        gt=0.0,
        lt=0.5,
        description="share of the frames in the validation set: whole configurations until it is reached, or, with "
        "fewer than four inequivalent configurations, the last frames of each run",
    )
    folds: Annotated[int, Use("fold")] = Field(
        default=0,
        ge=0,
        description="folds of a cross-validation by configuration of the last training set, one training of the first "
        "member for each; with as many folds as configurations it is leave-one-out; 0: none",
    )
    states: Annotated[Literal["aware", "blind"], Use("train", "fold", "pretrain", added=True)] = Field(
        default="blind",
        description="aware: the species of the potentials are pairs of element and oxidation state (needs "
        "electrons.levels); blind: the elements, as in the paper",
    )
    cutoff_A: float = Field(default=5.0, gt=1.0, le=12.0, description="cutoff radius of neighbours")
    radial_functions: int = Field(default=20, ge=3, le=64, description="number of radial basis functions")
    core_repulsion: bool = Field(
        default=True, description="add the screened nuclear repulsion at distances below bond lengths"
    )
    rho_initial: Fraction = Field(default=0.99, description="weight ρ of the forces in the loss of generation 0")
    rho_active: Annotated[Fraction, Use("train", "fold")] = Field(
        default=0.9, description="weight ρ of the forces from generation 1 on"
    )
    learning_rate: Annotated[float, Use("train", "fold")] = Field(
        default=1e-3, gt=0.0, lt=1.0, description="initial learning rate of Adam; lower it with pretrain"
    )
    learning_rate_active: Annotated[float, Use("train", "fold")] = Field(
        default=1e-3, gt=0.0, lt=1.0, description="initial learning rate of Adam in later generations"
    )
    batch_size: Count = Field(default=4, description="structures per gradient step")
    replay: Annotated[float, Use("train", "fold", added=True)] = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="share of frames of the teacher in each batch (with pretrain.enabled), so that hot frames and "
        "short distances are not forgotten; their energies have references of their own",
    )
    max_steps: Annotated[Count, Use("train", "fold")] = Field(
        default=1_000_000, description="largest number of gradient steps, generation 0"
    )
    max_steps_active: Annotated[Count, Use("train", "fold")] = Field(
        default=300_000, description="largest number of gradient steps, later generations"
    )
    validate_every: Count = Field(default=1000, description="gradient steps between validations")
    patience: Count = Field(default=50, description="validations without improvement before stopping")
    decay_factor: float = Field(default=0.5, gt=0.0, lt=1.0, description="factor of the learning rate on a plateau")
    decay_patience: Count = Field(default=10, description="validations without improvement before a decay")
    ema_decay: float = Field(
        default=0.999, ge=0.0, lt=1.0, description="exponential moving average of the weights; 0: none"
    )
    warm_start: Annotated[bool, Use("train", "fold")] = Field(
        default=True,
        description="start from the weights of the previous generation; false with pretrain: from those trained on "
        "labels of the teacher",
    )
    device: Annotated[Literal["auto", "cpu", "cuda"], Use("train", "fold", "pretrain", runtime=PROCESSOR)] = Field(
        default="auto", description="auto: a GPU if there is one"
    )

    @model_validator(mode="after")
    def _batch_has_both_kinds(self) -> Train:
        replayed = replayed_frames(self.replay, self.batch_size)
        if self.replay and not 0 < replayed < self.batch_size:
            raise ValueError(
                f"replay: {self.replay:g} of batch_size {self.batch_size} is {replayed} frames of the teacher; at "
                "least one frame of each kind is needed, change replay or batch_size"
            )
        return self
