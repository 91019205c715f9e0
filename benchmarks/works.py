"""What is timed: MD, training and predicted densities of the paper's sizes, on the starter data."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ase import Atoms

from redoxmd.config import sections
from redoxmd.config.sections import Member, Train
from redoxmd.density.dataset import DensitySet, Entry
from redoxmd.density.model import DensityModel, EncodedAtoms
from redoxmd.density.network import DensityNetwork
from redoxmd.density.predict import grid_filler, grid_shape
from redoxmd.density.store import density_keys
from redoxmd.density.superposition import SPLINES, Superposition
from redoxmd.density.training import DensityTrainer
from redoxmd.diffusion.analysis import analyse_trajectory
from redoxmd.files.frames import read_frames
from redoxmd.files.trajectory import Trajectory
from redoxmd.md.ensemble import READ_EVERY_STEPS, BatchMD, ensemble_md
from redoxmd.md.evaluators import force_evaluator
from redoxmd.md.frame_gate import GateSettings
from redoxmd.md.langevin import Langevin
from redoxmd.model.ensemble import Ensemble, EvaluationMode
from redoxmd.model.painn import Painn
from redoxmd.train.dataset import Dataset
from redoxmd.train.trainer import Trainer

STARTER_FRAMES = Path("resources/nvp-states/frames.extxyz")
STARTER_DENSITIES = Path("resources/nvp-states/densities.h5")
ELEMENTS = [8, 11, 15, 23]
VANADIUM = 23
PROBE_BRICKS = 40
TIMESTEP_FS = 0.5
TABLE_1 = Train().members
WALKERS = 100
WALKER_FRAMES = 100_000
WALKER_INTERVAL_FS = 20.0


def crystal(repeat: int) -> Atoms:
    """A hot NVP frame at x = 3 (40 atoms), repeated to 40·repeat³ atoms and shaken."""
    frame = next(f for f in read_frames(STARTER_FRAMES) if f.info["config_id"] == "x3.000_random0_1x1x1")
    atoms = frame.repeat(repeat)
    atoms.positions += 0.02 * np.random.default_rng(0).standard_normal(atoms.positions.shape)
    return atoms


def ensemble_of_table_1(device: str, evaluation: EvaluationMode = "auto") -> Ensemble:
    """Four members of the paper's sizes with random weights, scaled down so that the MD stays calm."""
    members = []
    for number, size in enumerate(TABLE_1):
        torch.manual_seed(number)
        member = Painn(ELEMENTS, size.features, size.layers, Train().cutoff_A, Train().radial_functions)
        member.scale_eV.fill_(1e-3)
        members.append(member)
    return Ensemble(members, evaluation=evaluation).to(device)


def md_step(atoms: Atoms, device: str, evaluation: EvaluationMode = "auto") -> Callable[[], object]:
    """One whole MD step: integrator, neighbour list, energy, forces of all members, spread, gate."""
    md = ensemble_md(
        force_evaluator(ensemble_of_table_1(device, evaluation)),
        atoms,
        Langevin(atoms.get_masses(), TIMESTEP_FS, 600.0, 0.01),
        GateSettings(1.0, 5.0),
    )
    md.start(np.random.default_rng(0))
    return md.step


class DeviceStretches:
    """MD on the device, so many trajectories side by side; a call makes as many steps as are read at once.

    Fused kernels are used if `evaluation` is auto and they pass their self-test; `description` says so.
    """

    def __init__(
        self,
        atoms: Atoms,
        device: str,
        at_once: int,
        read_every: int = READ_EVERY_STEPS,
        evaluation: EvaluationMode = "auto",
    ) -> None:
        evaluator = force_evaluator(ensemble_of_table_1(device, evaluation), "device", atoms)
        self.description = evaluator.description
        self._batch = BatchMD(evaluator, at_once, len(atoms), read_every)
        dynamics = Langevin(atoms.get_masses(), TIMESTEP_FS, 600.0, 0.01)
        # Random weights do not hold a crystal together for long: nothing may end.
        gate = GateSettings(1e6, 1e6, "max", 0.0, 1e6)
        self._trajectories = [self._batch.enter(slot, atoms, dynamics, gate) for slot in range(at_once)]
        for slot, md in enumerate(self._trajectories):
            md.start(np.random.default_rng(slot))
        self._steps, self._calls = 0, 0

    def __call__(self) -> None:
        """One stretch, and the gate's word on every frame of it."""
        self._batch.advance()
        for md in self._trajectories:
            while md.pending:
                md.step()
                self._steps += 1
        self._calls += 1

    @property
    def steps_per_call(self) -> float:
        """Steps of all trajectories together that a call made: less than asked for where one waited for its pairs."""
        return self._steps / max(self._calls, 1)


def training_step(device: str, batch: int = 4) -> Callable[[], object]:
    """One gradient step of a 128 × 3 member on so many structures of 40 atoms."""
    frames = [f for f in read_frames(STARTER_FRAMES) if f.info["config_id"].startswith("x3.000")]
    for frame in frames:
        frame.info["set"] = "train"
    settings = Train(device="cuda" if device == "cuda" else "cpu", batch_size=batch)
    trainer = Trainer(Dataset(frames), Member(features=128, layers=3), settings, 0, 0, None, "bench")
    return trainer.gradient_step


def density_model(device: str) -> DensityModel:
    """A density model of the default size with random weights."""
    settings = sections.DensitySettings()
    torch.manual_seed(0)
    sizes = settings.features, settings.layers, settings.cutoff_A, settings.radial_functions, settings.probe_functions
    network = DensityNetwork(ELEMENTS, *sizes, settings.multipole_reach_A).to(device).eval().requires_grad_(False)
    superposition = Superposition(ELEMENTS, settings.cutoff_A, np.zeros((len(ELEMENTS), SPLINES, 2)))
    return DensityModel(network, superposition, np.ones(2), dict.fromkeys(ELEMENTS, 1.0))


def density_probes(atoms: Atoms, device: str) -> tuple[Callable[[], object], int]:
    """Prediction of a corner of a grid of 0.15 Å, atoms encoded beforehand; and the number of its probes."""
    encoded = EncodedAtoms(density_model(device), atoms)
    shape = grid_shape(np.asarray(atoms.cell), sections.Charges().spacing_A)
    return grid_filler(encoded, shape, PROBE_BRICKS)


def density_training_step(device: str) -> Callable[[], object]:
    """One gradient step of the default density model: 2 structures × 1000 points of 80³ grids."""
    settings = sections.DensitySettings(device="cuda" if device == "cuda" else "cpu", points_per_density=2000)
    keys = density_keys(STARTER_DENSITIES)[-2:]
    training = DensitySet(tuple(Entry(str(STARTER_DENSITIES), key, "train") for key in keys))
    return DensityTrainer(training, DensitySet(()), VANADIUM, settings, 0).gradient_step


def walkers(frames: int) -> Trajectory:
    """A hundred ions that rattle on a lattice of 4.5 Å and jump along it twice a nanosecond, without a framework."""
    rng = np.random.default_rng(0)
    jumps = rng.random((frames, WALKERS)) < 2e-6 * WALKER_INTERVAL_FS
    path = 4.5 * (rng.choice([-1, 1], jumps.shape) * jumps).cumsum(axis=0)
    positions = path[..., None] * np.eye(3)[rng.integers(0, 3, WALKERS)]
    positions += 4.5 * np.argwhere(np.ones((5, 5, 4))) + 0.2 * rng.standard_normal(positions.shape)
    nothing = np.zeros(frames)
    return Trajectory(
        numbers=np.full(WALKERS, 11),
        positions_A=positions,
        cell_A=np.diag([22.5, 22.5, 18.0]),
        steps=np.arange(frames),
        time_fs=WALKER_INTERVAL_FS * np.arange(frames),
        temperature_K=nothing,
        energy_eV=nothing,
        spread_eV_A=nothing,
        metadata={"x": 3.0, "temperature_K": 600.0, "replica": 0, "mobile_ion": "Na"},
    )


def diffusion_analysis() -> tuple[float, float, float]:
    """Stage `jumps` on ten million ion-frames, once: wall and CPU seconds, and peak memory in GB beside the trajectory.

    Jumps, sites from the visits, MSDs, van Hove functions.
    """
    trajectory = walkers(WALKER_FRAMES)
    tracemalloc.start()
    wall, cpu = time.perf_counter(), time.process_time()
    analyse_trajectory(trajectory, sections.Diffusion(), 0)
    took = time.perf_counter() - wall, time.process_time() - cpu
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return *took, peak / 1e9
