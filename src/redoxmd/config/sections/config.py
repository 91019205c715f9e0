"""The whole config: one section per stage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from redoxmd.config.sections.aimd import Aimd
from redoxmd.config.sections.base import Repeats, Section, Use
from redoxmd.config.sections.basins import Basins
from redoxmd.config.sections.charges import Charges
from redoxmd.config.sections.compute import Compute
from redoxmd.config.sections.density import DensitySettings
from redoxmd.config.sections.diffusion import Diffusion
from redoxmd.config.sections.electrons import Electrons
from redoxmd.config.sections.engine import EngineSettings
from redoxmd.config.sections.explore import Explore
from redoxmd.config.sections.figures import Figures
from redoxmd.config.sections.gate import Gate
from redoxmd.config.sections.label import Label
from redoxmd.config.sections.neb import Neb, NebEvent
from redoxmd.config.sections.pretrain import Pretrain
from redoxmd.config.sections.production import Production
from redoxmd.config.sections.select import Select
from redoxmd.config.sections.structures import Structures
from redoxmd.config.sections.train import Train


def label_cells(aimd: Aimd, explore: Explore, neb: Neb, ensemble: Path | None) -> list[Repeats]:
    """Supercells in which frames for training are labelled, each once; the source cell if an ensemble is given."""
    if ensemble is not None:
        return [(1, 1, 1)]
    cells = [aimd.supercell, *(phase.supercell for phase in explore.phases)]
    return list(dict.fromkeys([*cells, *([neb.supercell] if neb.train_phases else [])]))


class Config(Section):
    """A whole run."""

    run: str = Field(
        default="quickstart",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="name of the run; all results are in results/<run>/",
    )
    seed: int = Field(default=1, ge=0, description="seed of all random numbers")
    structures: Annotated[
        Structures,
        Use(runtime="later stages are stale through the structures from which they start"),
    ] = Field(default=Structures(), description="stage structures")
    engine: Annotated[
        EngineSettings,
        Use(runtime="the settings hash, parameter `reference`, contains all settings that change energies and forces"),
    ] = Field(default=EngineSettings(), description="reference method")
    electrons: Annotated[
        Electrons,
        Use(runtime="the data set judges every frame again, so no reference calculation is repeated for new levels"),
    ] = Field(default=Electrons(), description="oxidation states")
    aimd: Aimd = Field(default=Aimd(), description="stage aimd")
    pretrain: Pretrain = Field(default=Pretrain(), description="stage pretrain")
    train: Train = Field(default=Train(), description="stage train")
    explore: Explore = Field(default=Explore(), description="stage explore")
    select: Select = Field(default=Select(), description="stage select")
    gate: Gate = Field(default=Gate(), description="stage gate")
    label: Label = Field(default=Label(), description="stage label")
    basins: Basins = Field(default=Basins(), description="stage basins")
    production: Production = Field(default=Production(), description="stage production")
    neb: Neb = Field(default=Neb(), description="stage neb")
    density: DensitySettings = Field(default=DensitySettings(), description="stage density")
    charges: Charges = Field(default=Charges(), description="stage charges")
    diffusion: Diffusion = Field(default=Diffusion(), description="stage diffusion")
    figures: Figures = Field(default=Figures(), description="stage figures")
    compute: Annotated[Compute, Use(runtime="selects the method of computation: equal numbers within rounding")] = (
        Field(default=Compute(), description="how results are computed")
    )

    @property
    def density_test_configurations(self) -> tuple[str, ...]:
        """Configurations on which the density model is tested: its own, or those of the potentials."""
        own = self.density.test_configurations
        return self.train.test_configurations if own is None else own

    @property
    def has_loop(self) -> bool:
        """Whether potentials are trained and explored; not with an ensemble that is given."""
        return self.train.ensemble is None

    @model_validator(mode="after")
    def _across_sections(self) -> Config:
        if len(self.train.members) < 2:
            raise ValueError("train.members: one member has no spread, so the gate is blind; give at least two")
        if self.production.save_every_fs < self.production.timestep_fs:
            raise ValueError("production.save_every_fs must be at least production.timestep_fs")
        if self.structures.redox_element is None and self.density.enabled:
            raise ValueError(
                "density.enabled: structures.redox_element is null, so no atom changes its charge; set it to false"
            )
        self._check_given_files()
        if self.train.replay and not self.pretrain.enabled:
            raise ValueError("train.replay: there are no frames of a teacher; set pretrain.enabled: true or replay: 0")
        self._check_paths()
        return self

    def _check_given_files(self) -> None:
        """Refuse trainings beside an ensemble that is given, and files that this run itself makes."""
        trainings = {
            "neb.train_phases": self.neb.train_phases,
            "pretrain.enabled": self.pretrain.enabled,
            "train.folds": self.train.folds,
        }
        for key, wanted in trainings.items():
            if wanted and not self.has_loop:
                raise ValueError(f"{key}: nothing is trained with train.ensemble; leave one of them out")
        named_files = {
            "train.ensemble": self.train.ensemble,
            "density.model": self.density.model,
            "aimd.warm_up.potential": self.aimd.warm_up.potential,
            "pretrain.potential": self.pretrain.potential,
            "pretrain.members": self.pretrain.members,
        }
        own = (Path("results") / self.run).resolve()
        for key, path in named_files.items():
            if path is not None and own in Path(path).resolve().parents:
                raise ValueError(f"{key}: {path} is a result of this run and would be replaced; copy it, or rename run")

    def _check_paths(self) -> None:
        """Refuse paths that name a phase or trajectory which does not exist."""
        phases = [phase.name for phase in self.explore.phases]
        unknown = [name for name in self.neb.train_phases if name not in phases]
        if unknown:
            raise ValueError(f"neb.train_phases: no phase {unknown[0]}; explore.phases has {', '.join(phases)}")
        if self.neb.train_phases and all(path.event for path in self.neb.paths):
            raise ValueError("neb.train_phases: no path has moves or final, add one to neb.paths or leave the key out")
        made = self.production
        for path in self.neb.paths:
            event = path.event if isinstance(path.event, NebEvent) else None
            x = event.x if event else path.x if path.event else None
            if x is not None and x not in made.x:
                raise ValueError(f"neb.paths, {path.name}: no trajectory of x = {x:g}; production.x has {list(made.x)}")
            if event and (event.temperature_K not in made.temperatures_K or event.replica >= made.replicas):
                raise ValueError(
                    f"neb.paths, {path.name}, event: no trajectory at {event.temperature_K:g} K of replica "
                    f"{event.replica}; production.temperatures_K has {list(made.temperatures_K)}, "
                    f"production.replicas is {made.replicas}"
                )
