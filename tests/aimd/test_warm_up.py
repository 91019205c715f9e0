"""MD with a potential before the reference MD: its physics against equipartition, its files through Snakemake."""

import itertools
import os
import signal

import numpy as np
import pandas as pd
import pytest
import yaml
from ase import units
from ase.calculators.calculator import Calculator, all_changes

from redoxmd.aimd.warm_up import find_potential, potential_calculator, warm_up
from redoxmd.config.sections import Aimd, Electrons, OxidationState, WarmUp
from redoxmd.errors import ConfigError, DataError, EngineMissing, Interrupted
from redoxmd.files.frames import read_frames
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.model.calculator import EnsembleCalculator
from redoxmd.model.ensemble import Ensemble, save_ensemble
from redoxmd.runs.changes import planned_jobs
from tests.engines.test_engines import nvp
from tests.md.test_electrons import ensemble as states_ensemble  # noqa: F401
from tests.md.test_electrons import settings as electrons_of
from tests.model.test_ensemble import members
from tests.workflow.test_workflow import TOY, repository, snakemake

SPRING_EV_A2 = 2.0
LEVELS = Electrons(levels={"V": {3: OxidationState(moment_muB=2.0), 4: OxidationState(moment_muB=1.0)}})
FOLLOWING = electrons_of()


class Springs(Calculator):
    """Each atom on a spring to its first position, with moments that are no neutral state by themselves."""

    implemented_properties = ("energy", "forces", "magmoms")

    def __init__(self, spring_eV_A2=SPRING_EV_A2):
        super().__init__()
        self.spring_eV_A2, self.origin_A = spring_eV_A2, None

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.origin_A = atoms.positions.copy() if self.origin_A is None else self.origin_A
        moved_A = atoms.positions - self.origin_A
        moments_muB = np.where(atoms.numbers == 23, 2.0, 0.0)
        moments_muB[np.flatnonzero(atoms.numbers == 23)[2]] = 1.4
        self.results = {
            "energy": 0.5 * self.spring_eV_A2 * (moved_A**2).sum(),
            "forces": -self.spring_eV_A2 * moved_A,
            "magmoms": moments_muB,
        }


def heated(folder, atoms, calculator, chosen, seed=1, electrons=None):
    """The end of the warm-up, with its restart files in a folder."""
    rng, checkpoint = np.random.default_rng(seed), Checkpoint(folder, "fingerprint")
    return warm_up(atoms, calculator, chosen, rng, electrons or Electrons(), checkpoint)


def settings(steps, potential="ensemble.pt", **changes):
    return Aimd(temperature_K=600, warm_up=WarmUp(steps=steps, potential=potential, **changes))


def test_kinetic_and_potential_energy_are_those_of_equipartition(tmp_path):
    """3/2 kT per atom each, of springs at the end of runs from the minimum; the centre of mass is at rest."""
    kinetic, potential = [], []
    for seed in range(20):
        atoms, springs = nvp(3.0), Springs()
        warm = heated(tmp_path / str(seed), atoms, springs, settings(400), seed)
        moved_A = warm.positions - atoms.positions
        potential.append(0.5 * SPRING_EV_A2 * (moved_A**2).sum() / len(warm))
        kinetic.append(warm.get_kinetic_energy() / len(warm))
    expected = 1.5 * units.kB * 600 * (1 - 1 / len(warm))
    for found in (kinetic, potential):
        error = np.std(found, ddof=1) / np.sqrt(len(found))
        assert abs(np.mean(found) - expected) < 4 * error
        assert error < 0.05 * expected


def test_moments_give_the_neutral_state(tmp_path):
    """One V4+ is due at x = 2.5: the V with the smallest moment, by hand."""
    atoms = nvp(2.5)
    warm = heated(tmp_path / "a", atoms, Springs(), settings(2), electrons=LEVELS)
    vanadium = atoms.numbers == 23
    assert warm.arrays["oxidation"][vanadium].tolist() == [3, 3, 4, 3]
    assert not warm.arrays["oxidation"][~vanadium].any()
    assert "oxidation" not in heated(tmp_path / "b", atoms, Springs(), settings(2)).arrays


def test_a_potential_that_fails_is_named(tmp_path):
    with pytest.raises(DataError, match=r"ensemble\.pt fails at step .*another potential, or warm_up\.steps: 0"):
        heated(tmp_path, nvp(3.0), Springs(-20.0), settings(200))


def stopping(calculator, at):
    """The calculator; after its `at`-th calculation the process is asked to stop."""
    calculate, count = calculator.calculate, itertools.count(1)

    def and_stop(*args):
        calculate(*args)
        if next(count) == at:
            os.kill(os.getpid(), signal.SIGTERM)

    calculator.calculate = and_stop
    return calculator


@pytest.mark.parametrize("potential", ["springs", "ensemble"])
def test_stopped_at_any_step_it_ends_in_the_same_structure(tmp_path, potential, states_ensemble, monkeypatch):  # noqa: F811
    """With an ensemble whose electrons follow the ions too, whose shortlist of swaps is part of the state."""
    monkeypatch.setattr("redoxmd.electrons.shortlist.FIRST_SAMPLES", 5)

    def make():
        if potential == "springs":
            springs = Springs()
            springs.origin_A = nvp(2.5).positions
            return springs
        return EnsembleCalculator(states_ensemble, FOLLOWING)

    electrons = LEVELS if potential == "springs" else FOLLOWING
    whole = heated(tmp_path / "whole", nvp(2.5), make(), settings(30), electrons=electrons)
    for at, step in ((1, 0), (9, 9), (10, 19), (11, 30)):
        with pytest.raises(Interrupted, match=f"warm-up of .*, at step {step} of 30") as stopped:
            heated(tmp_path / "part", nvp(2.5), stopping(make(), at), settings(30), electrons=electrons)
        assert stopped.value.further
    part = heated(tmp_path / "part", nvp(2.5), make(), settings(30), electrons=electrons)
    assert np.array_equal(part.positions, whole.positions)
    assert np.array_equal(part.get_momenta(), whole.get_momenta())
    assert np.array_equal(part.arrays["oxidation"], whole.arrays["oxidation"])


def test_potentials_that_do_not_exist_are_named_with_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match=r"aimd\.warm_up\.potential: there is no file .*ensemble\.pt"):
        find_potential(settings(1).warm_up, tmp_path)
    with pytest.raises(ConfigError, match=r"aimd\.warm_up\.keywords"):
        find_potential(settings(1, keywords={"a": 1}).warm_up, tmp_path)
    with pytest.raises(EngineMissing, match=r"no nowhere\.Calculator found .* name the ensemble\.pt"):
        find_potential(settings(1, "nowhere.Calculator").warm_up, tmp_path)
    lennard_jones = settings(1, "ase.calculators.lj.LennardJones", keywords={"sigma": 2.5}).warm_up
    assert potential_calculator(lennard_jones, Electrons()).parameters["sigma"] == 2.5


@pytest.mark.workflow
def test_reference_runs_start_where_it_ends(tmp_path):
    """Through Snakemake with the file of an (untrained) ensemble, and again with another one."""
    folder = repository(tmp_path / "run")
    ensemble, name = folder / "old.pt", "x2.500_random1_1x1x1"
    config = yaml.safe_load(TOY.read_text())
    config["engine"]["toy"]["refuse_fraction"] = 0.0
    config["aimd"] |= {"starts": [{"x": 2.5, "seeds": [1]}], "steps": 2, "temperature_K": 400}
    config["aimd"]["warm_up"] = {"steps": 20, "potential": "old.pt"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    ends = []
    for seed in (0, 1):
        save_ensemble(ensemble, Ensemble(members(seed=seed)))
        target = f"results/toy/aimd/{name}/frames.extxyz"
        done = snakemake(folder, "--cores", "1", "--configfile", str(tmp_path / "config.yaml"), "--", target)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        (end,) = read_frames(folder / f"results/toy/warm_up/{name}.extxyz")
        first = read_frames(folder / target)[0]
        np.testing.assert_allclose(first.positions, end.positions, atol=1e-7)
        np.testing.assert_allclose(first.get_velocities(), end.get_velocities(), atol=1e-7)
        (built,) = read_frames(folder / f"results/toy/structures/{name}.extxyz")
        assert 0.02 < np.abs(end.positions - built.positions).mean() < 1.0
        ends.append(end.positions)
    assert np.abs(ends[0] - ends[1]).max() > 1e-6
    # Levels and reach of the electrons make no AIMD stale.
    config["electrons"] = {"levels": {"V": {3: {"moment_muB": 2.0}, 4: {"moment_muB": 1.0}}}, "reach_A": 5.0}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    plan = snakemake(folder, "--dry-run", "--configfile", str(tmp_path / "config.yaml"), "--", target)
    assert plan.returncode == 0 and planned_jobs(plan.stdout) == []
    jobs = pd.Series(done.stderr.split("\n")).str.extract(r"^(?:local)?rule (\w+):")[0].dropna().tolist()
    assert "structure" not in jobs
