"""Dynamics of NVP on the compiled path, with members trained on the starter data, against the plain path.

.venv/bin/python -m pytest -m slow -s tests/model/fast/test_dynamics.py      # prints what docs/performance.md says
"""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2, ks_2samp, kstest

from benchmarks.works import STARTER_FRAMES, crystal
from redoxmd.config.sections import Member, Train
from redoxmd.files.frames import read_frames
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.md.ensemble import ensemble_md
from redoxmd.md.evaluators import HostEvaluator
from redoxmd.md.frame_gate import GateSettings
from redoxmd.md.langevin import Langevin
from redoxmd.model.ensemble import Ensemble
from redoxmd.train.dataset import build_dataset
from redoxmd.train.trainer import train_member

pytestmark = pytest.mark.slow

TIMESTEP_FS, TEMPERATURE_K = 0.5, 600.0
SAMPLE_EVERY = 20
BLOCKS = 10


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    settings = Train(max_steps=1500, validate_every=250, learning_rate=3e-3, ema_decay=0.99, device="cpu")
    frames = read_frames(Path(__file__).parents[3] / STARTER_FRAMES)
    dataset = build_dataset(frames, settings, 1, frames[0].info["settings_hash"])
    sizes = [Member(features=24, layers=2), Member(features=32, layers=2)]
    return [
        train_member(dataset, size, settings, 0, number, None, Checkpoint(folder, f"m{number}")).member
        for number, size in enumerate(sizes)
    ]


def run(members, evaluation, repeat, length_ps, friction_per_fs, seed=0):
    """Total energy (eV/atom), potential energy (eV/atom) and temperature (K) every `SAMPLE_EVERY` steps."""
    atoms = crystal(repeat)
    md = ensemble_md(
        HostEvaluator(Ensemble(members, evaluation=evaluation)),
        atoms,
        Langevin(atoms.get_masses(), TIMESTEP_FS, TEMPERATURE_K, friction_per_fs),
        GateSettings(1e3, 2e3),
    )
    seen = md.start(np.random.default_rng(seed))
    rows = []
    for step in range(round(1000 * length_ps / TIMESTEP_FS)):
        seen = md.step()
        assert not seen.reason, seen
        if step % SAMPLE_EVERY == 0:
            total = seen.energy_eV + md.langevin.kinetic_eV(md.state)
            rows.append((total / len(atoms), seen.energy_eV / len(atoms), seen.temperature_K))
    return np.array(rows).T


def slope_meV_atom_ns(total_eV_atom):
    """Trend of the total energy and its standard error from the scatter of blocks around the line."""
    time_ns = np.arange(len(total_eV_atom)) * SAMPLE_EVERY * TIMESTEP_FS * 1e-6
    blocks = [np.array([part.mean() for part in np.array_split(x, BLOCKS)]) for x in (time_ns, 1e3 * total_eV_atom)]
    (slope, _), covariance = np.polyfit(*blocks, 1, cov=True)
    return slope, np.sqrt(covariance[0, 0])


def test_constant_energy_does_not_drift(members):
    found = {
        "compiled, 320 atoms": slope_meV_atom_ns(run(members, "auto", 2, 10.0, 0.0)[0]),
        "compiled, 40 atoms": slope_meV_atom_ns(run(members, "auto", 1, 10.0, 0.0)[0]),
        "plain, 40 atoms": slope_meV_atom_ns(run(members, "plain", 1, 10.0, 0.0)[0]),
    }
    for name, (slope, error) in found.items():
        print(f"{name}, 10 ps of {TIMESTEP_FS} fs steps: {slope:+.2f} ± {error:.2f} meV/atom/ns")
    allowed = max(1.0, abs(found["plain, 40 atoms"][0]))
    for name, (slope, error) in found.items():
        assert abs(slope) <= allowed + 3 * error, name
        assert error < 20, name


def test_temperature_is_distributed_as_it_must_be_and_both_paths_agree(members):
    """Kinetic energy over k_B·T/2 follows χ² of 3n − 3 degrees of freedom; potential energies have one distribution."""
    samples = {}
    for evaluation, seed in (("auto", 1), ("plain", 2)):
        _, potential, kelvin = run(members, evaluation, 1, 20.0, 0.02, seed)
        # Apart by more than the thermostat remembers: 1/γ = 50 fs, and 10 fs a sample.
        samples[evaluation] = potential[400::40], kelvin[400::20]
    degrees = 3 * len(crystal(1)) - 3
    for evaluation, (_, kelvin) in samples.items():
        fit = kstest(kelvin / TEMPERATURE_K * degrees, chi2(degrees).cdf)
        print(f"{evaluation}: mean {kelvin.mean():.1f} K of {len(kelvin)}, Kolmogorov–Smirnov p = {fit.pvalue:.2f}")
        assert fit.pvalue > 0.01
    both = ks_2samp(samples["auto"][0], samples["plain"][0])
    print(f"potential energy, compiled against plain: p = {both.pvalue:.2f}")
    assert both.pvalue > 0.01
