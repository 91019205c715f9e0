"""Section `density`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from redoxmd.config.sections.base import PROCESSOR, Count, Fraction, Positive, Section, Use


class DensitySettings(Section):
    """The spin-density model: equivariant DeepDFT on the reference densities."""

    read_by: ClassVar = ("density",)

    enabled: Annotated[bool, Use()] = Field(
        default=True,
        description="train the density model and compute charges; false if the reference method gives no densities",
    )
    model: Annotated[Path | None, Use()] = Field(
        default=None, description="model.pt of an earlier run, used as it is; null: train one"
    )
    stores: Annotated[tuple[Path, ...], Use()] = Field(
        default=(),
        description="density stores (redoxmd density import) joined to those of the run and of train.datasets; of the "
        "same reference method",
    )
    test_configurations: Annotated[tuple[str, ...] | None, Use("density_dataset")] = Field(
        default=None, description="configuration ids of the test set; null: train.test_configurations"
    )
    validation_fraction: Annotated[float, Use("density_dataset")] = Field(
        default=0.1,
        gt=0.0,
        lt=0.5,
        description="share of the densities drawn for the validation set, if no validation configuration of the "
        "potentials has a density",
    )
    target: Literal["difference", "plain"] = Field(
        default="difference",
        description="difference: learn the difference from superposed atoms; plain: the density itself, as "
        "in the paper",
    )
    states: Annotated[Literal["blind", "aware"], Use("density", added=True)] = Field(
        default="blind",
        description="aware: each pair of element and oxidation state is a species of the network, which needs "
        "electrons.levels, and train.states: aware for trajectories with states; blind: elements only, as in the paper",
    )
    features: int = Field(default=128, ge=8, le=1024, description="number of features F of atoms and probes")
    layers: int = Field(default=3, ge=1, le=12, description="interaction layers L")
    cutoff_A: float = Field(
        default=4.0, gt=1.0, le=12.0, description="cutoff radius of messages to atoms and to probes"
    )
    radial_functions: int = Field(default=20, ge=3, le=64, description="radial basis functions between atoms")
    probe_functions: int = Field(default=16, ge=3, le=64, description="radial basis functions from atoms to probes")
    multipole_reach_A: float = Field(
        default=2.5, gt=0.0, le=6.0, description="cutoff radius of the multipoles (up to l = 4) of an atom"
    )
    structures_per_step: Count = Field(default=2, description="densities per gradient step")
    points_per_structure: Count = Field(default=1000, description="grid points of each density per gradient step")
    redox_fraction: Fraction = Field(
        default=0.5, description="share of the points drawn near atoms of the redox element; 0: all uniform"
    )
    redox_radius_A: Positive = Field(default=1.5, description="largest distance of these points from a redox atom")
    points_per_density: Count = Field(
        default=50_000,
        description="points of a density held in memory (2 MB), and the same number near the redox element",
    )
    learning_rate: float = Field(
        default=1e-3, gt=0.0, lt=1.0, description="learning rate of Adam after 100 steps of warm-up"
    )
    max_steps: Count = Field(
        default=100_000, description="gradient steps; the learning rate decreases to zero as a cosine"
    )
    validate_every: Count = Field(default=500, description="gradient steps between validations")
    ema_decay: float = Field(default=0.999, ge=0.0, lt=1.0, description="exponential moving average of the weights")
    device: Annotated[Literal["auto", "cpu", "cuda"], Use("density", runtime=PROCESSOR)] = Field(
        default="auto", description="auto: a GPU if there is one"
    )
