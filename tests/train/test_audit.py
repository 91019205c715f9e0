import logging
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import redoxmd.train.dataset
from redoxmd.config.sections import Member, Train
from redoxmd.engines.calculation import ReadFrame
from redoxmd.engines.toy import ionic_energy
from redoxmd.errors import DataError, LabelRefusal
from redoxmd.files.frames import bare, labelled, read_frames, write_frames
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.md.langevin import Langevin
from redoxmd.model.ensemble import Ensemble
from redoxmd.runs.status import describe_status
from redoxmd.train.audit import check_labelled, check_run, too_short, work_imbalances
from redoxmd.train.audit.parity import (
    Residual,
    describe_suspects,
    frames_to_audit,
    read_suspects,
    residuals,
    robust_scores,
    suspect_names,
    suspects,
)
from redoxmd.train.dataset import build_dataset, exclusions
from redoxmd.train.trainer import train_member
from tests.runs.test_status import CONFIG, put
from tests.train.test_train import SETTINGS
from tests.train.test_train import frames as rocks

ROOT = Path(__file__).parents[2]
GPAW = read_frames(ROOT / "tests/data/nvp-loose/frames.extxyz")
STARTS = {frame.info["config_id"]: frame for frame in reversed(GPAW)}
WRONG_EV_A = 0.3


def as_read(frame):
    results = frame.calc.results
    return ReadFrame(frame, int(frame.info["step"]), results["energy"], results["forces"])


def gpaw_run(config_id="x2.50_o0"):
    return [as_read(frame) for frame in GPAW if frame.info["config_id"] == config_id]


def toy_md(start, steps, timestep_fs=2.0, temperature_K=1000.0, seed=0, warm_up=50, config_id="t"):
    """Langevin MD by the toy: a run whose energies and forces belong together exactly."""
    rng = np.random.default_rng(seed)
    geometry = bare(start)
    latest = []

    def force(positions):
        geometry.positions = positions
        latest[:] = ionic_energy(geometry)
        return latest[1]

    md = Langevin(start.get_masses(), timestep_fs, temperature_K, 0.02)
    state = md.start(start.positions, force(start.positions), rng)
    frames = []
    for number in range(-warm_up, steps):
        if number >= 0:
            about = {"config_id": config_id, "step": number, "time_fs": number * timestep_fs}
            geometry.positions = state.positions_A
            frames.append(labelled(geometry, latest[0], latest[1], converged=True, settings_hash="h", **about))
        md.step(state, force)
    return frames


def toy_run(*arguments, **settings):
    return [as_read(frame) for frame in toy_md(STARTS["x3.00_o1"], *arguments, **settings)]


def with_forces(run, step, change):
    """The run with the forces of one step changed."""
    return [replace(f, forces_eV_A=change(f.forces_eV_A)) if f.step == step else f for f in run]


def with_atoms(run, steps, change):
    changed = []
    for frame in run:
        atoms = frame.atoms.copy()
        if frame.step in steps:
            change(atoms)
        changed.append(replace(frame, atoms=atoms))
    return changed


def exchange(values, i, j):
    values = values.copy()
    values[[i, j]] = values[[j, i]]
    return values


def random_error(forces):
    return forces + WRONG_EV_A * np.random.default_rng(1).standard_normal(forces.shape)


def constant_error(forces):
    return forces + np.array([WRONG_EV_A, 0, 0])


def exchanged_oxygens(forces):
    return exchange(forces, -1, -9)


def exchanged_species(forces):
    return exchange(forces, 0, -1)


ERRORS = [random_error, constant_error, exchanged_oxygens, exchanged_species]


class TestNoFalseAlarm:
    def test_gpaw(self):
        """190 frames of seven real runs, with the SCF noise of a cheap GPAW setup."""
        assert check_labelled(GPAW) == {}

    @pytest.mark.parametrize(
        ("timestep_fs", "temperature_K"), [(0.5, 600), (0.5, 1500), (1, 1500), (2, 1000), (2, 2000), (5, 3000)]
    )
    def test_hot_md(self, timestep_fs, temperature_K):
        assert check_run(toy_run(120, timestep_fs, temperature_K), timestep_fs) == {}

    def test_a_run_that_starts_far_from_equilibrium(self):
        """Atoms that fall into place are violent, not wrong."""
        for seed in range(5):
            start = STARTS["x3.00_o1"].copy()
            start.positions += 0.15 * np.random.default_rng(seed).standard_normal(start.positions.shape)
            assert check_labelled(toy_md(start, 30, seed=seed, warm_up=0)) == {}

    def test_wrapped_positions_and_thinned_runs(self):
        run = gpaw_run()
        assert check_run(with_atoms(run, range(99), lambda atoms: atoms.wrap())) == {}
        assert check_run(run[::3]) == {}
        assert [check_run(run[:n]) for n in range(1, 8)] == [{}] * 7

    def test_a_relaxation(self):
        """Line searches are no smooth path; their large steps and returns are no errors."""
        atoms, frames = bare(STARTS["x3.00_o1"]), []
        for step in range(20):
            energy, forces, _ = ionic_energy(atoms)
            frames.append(ReadFrame(atoms.copy(), step, energy, forces))
            atoms.positions += (0.02 if step % 2 else -0.012) * forces.clip(-5, 5)
        assert check_run(frames) == {}


class TestForces:
    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
    def test_every_inner_frame_of_a_gpaw_run(self, error):
        run = gpaw_run()
        for step in range(1, len(run) - 1):
            found = check_run(with_forces(run, step, error))
            assert list(found) == [step]
            assert found[step][0] == "corrupted"

    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
    @pytest.mark.parametrize("timestep_fs", [0.5, 1, 2])
    def test_a_large_cell(self, error, timestep_fs):
        start = STARTS["x3.00_o1"].repeat(2)
        run = [as_read(frame) for frame in toy_md(start, 12, timestep_fs, warm_up=20)]
        assert list(check_run(with_forces(run, 6, error))) == [6]

    def test_exchanged_forces_are_named(self):
        run = gpaw_run()
        (found,) = check_run(with_forces(run, 9, lambda forces: exchange(forces, 3, 30))).values()
        assert found == ("corrupted", "forces of atoms 3 and 30 are exchanged")

    def test_another_functional(self):
        """Forces a tenth larger in one frame: found for most frames at 2 fs, for all at 1 fs."""
        run = gpaw_run()
        inner = range(2, len(run) - 2)
        hits = [set(check_run(with_forces(run, step, lambda f: 1.1 * f))) == {step} for step in inner]
        assert np.mean(hits) > 0.8
        finer = toy_run(20, 1.0)
        assert all(set(check_run(with_forces(finer, step, lambda f: 1.1 * f))) == {step} for step in range(2, 18))

    def test_net_force_needs_no_neighbours(self):
        (frame,) = with_forces(gpaw_run()[:1], 0, constant_error)
        assert check_run([frame])[0] == ("corrupted", "forces add up to 0.3 eV/Å for each atom")

    def test_constraints_leave_a_net_force(self):
        (frame,) = with_forces(
            gpaw_run()[:1], 0, lambda forces: np.where(np.arange(len(forces))[:, None] < 9, 0, forces)
        )
        assert np.linalg.norm(frame.forces_eV_A.mean(axis=0)) > 0.05
        assert check_run([frame]) == {}


class TestEnergies:
    def shifted(self, run, steps, shift_eV):
        return [replace(f, energy_eV=f.energy_eV + shift_eV) if f.step in steps else f for f in run]

    @pytest.mark.parametrize("steps", [[0], [12], range(20, 28), range(6), [3, 4, 19]])
    def test_the_smaller_part_is_off(self, steps):
        found = check_run(self.shifted(gpaw_run(), steps, 2.0))
        assert sorted(found) == list(steps)
        assert {reason for reason, _ in found.values()} == {"corrupted"}

    def test_what_is_too_small_to_see(self):
        """5 meV/atom is what GPAW's SCF may lose by itself when it finds a lower state."""
        assert check_run(self.shifted(gpaw_run(), range(20, 28), 0.2)) == {}

    def test_energies_of_other_frames(self):
        run = gpaw_run()
        late = [replace(a, energy_eV=b.energy_eV) for a, b in pairwise(run)]
        early = [replace(b, energy_eV=a.energy_eV) for a, b in pairwise(run)]
        for wrong, word in ((late, "before"), (early, "after")):
            found = check_run(wrong)
            assert len(found) == len(wrong) and f"one step {word} theirs" in found[wrong[3].step][1]

    def test_forces_in_another_order_of_atoms(self):
        run = [replace(f, forces_eV_A=np.roll(f.forces_eV_A, 1, axis=0)) for f in gpaw_run()]
        assert len(check_run(run)) == len(run)


class TestShortRuns:
    """Labels of one to five frames, as a small `label.steps` asks for them; through the files of `label`."""

    def stretches(self, frames):
        """Every stretch of so many frames of the seven GPAW runs, each a run of its own."""
        runs = [[f for f in GPAW if f.info["config_id"] == name] for name in STARTS]
        return [run[k : k + frames] for run in runs for k in range(len(run) - frames + 1)]

    def findings(self, tmp_path, run, shift_eV=0.0, step=-1):
        """What is said of a stretch that was written as a label with an energy off, and read again."""
        frames = []
        for number, frame in enumerate(run):
            energy = frame.calc.results["energy"] + (shift_eV if number == step % len(run) else 0.0)
            frames.append(labelled(frame, energy, frame.calc.results["forces"], config_id="g0f002", step=number))
        write_frames(tmp_path / "g0f002.extxyz", frames)
        return check_labelled(read_frames(tmp_path / "g0f002.extxyz"))

    @pytest.mark.parametrize("frames", [2, 3, 5])
    def test_loose_scf_is_no_alarm(self, frames):
        """Balances of -16 to -26 meV a step, up to -143: what GPAW's criteria of this setup leave."""
        stretches = self.stretches(frames)
        assert len(stretches) > 150
        assert [check_run([as_read(f) for f in run], 2.0) for run in stretches] == [{}] * len(stretches)

    @pytest.mark.parametrize(("timestep_fs", "temperature_K"), [(0.5, 600), (2, 1200), (2, 2000), (5, 3000)])
    def test_hot_pairs_are_no_alarm(self, timestep_fs, temperature_K):
        run = toy_run(60, timestep_fs, temperature_K)
        assert [check_run([a, b], timestep_fs) for a, b in pairwise(run)] == [{}] * 59

    def test_pairs_that_fall_into_place_are_no_alarm(self):
        for seed in range(3):
            start = STARTS["x3.00_o1"].copy()
            start.positions += 0.15 * np.random.default_rng(seed).standard_normal(start.positions.shape)
            run = [as_read(frame) for frame in toy_md(start, 20, seed=seed, warm_up=0)]
            assert [check_run([a, b], 2.0) for a, b in pairwise(run)] == [{}] * 19

    @pytest.mark.parametrize("shift_eV", [-0.27, 0.4])
    def test_a_pair_that_breaks_its_balance(self, tmp_path, shift_eV):
        """Which of the two is wrong, nothing tells: neither is trained on."""
        for run in self.stretches(2)[::9]:
            found = self.findings(tmp_path, run, shift_eV)
            assert sorted(found) == [("g0f002", 0), ("g0f002", 1)]
            assert {reason for reason, _ in found.values()} == {"corrupted"}

    @pytest.mark.parametrize("step", [0, 1, 2])
    def test_the_odd_one_of_three(self, tmp_path, step):
        for run in self.stretches(3)[::9]:
            assert list(self.findings(tmp_path, run, 0.4, step)) == [("g0f002", step)]

    def test_the_balance_by_plain_numpy(self, tmp_path):
        """Found if, and only if, |ΔE + Σ ½ (F + F')·Δr| is beyond the limit that the documentation gives."""
        rng = np.random.default_rng(4)
        for run in self.stretches(2)[::4]:
            a, b = run
            shift = rng.uniform(-0.5, 0.5)
            moved = b.positions - a.positions
            forces = a.calc.results["forces"], b.calc.results["forces"]
            change = b.calc.results["energy"] - a.calc.results["energy"] + shift
            imbalance = change + 0.5 * np.sum((forces[0] + forces[1]) * moved)
            limit = 0.005 * len(a) + 0.1 * 0.5 * np.abs(np.sum((forces[1] - forces[0]) * moved, axis=1)).sum()
            assert bool(self.findings(tmp_path, run, shift)) == (abs(imbalance) > limit)

    def test_two_of_a_jump(self):
        """Of two frames with two atoms exchanged between them, neither is trusted."""
        run = gpaw_run()[:2]

        def change(atoms):
            atoms.positions = exchange(atoms.positions, 0, -1)

        found = check_run(with_atoms(run, [1], change), 2.0)
        assert sorted(found) == [0, 1] and {reason for reason, _ in found.values()} == {"wrong_structure"}

    def test_a_short_relaxation(self):
        atoms, frames = bare(STARTS["x3.00_o1"]), []
        for step in range(5):
            energy, forces, _ = ionic_energy(atoms)
            frames.append(ReadFrame(atoms.copy(), step, energy, forces))
            atoms.positions += (0.02 if step % 2 else -0.012) * forces.clip(-5, 5)
        assert [check_run(frames[:n]) for n in range(2, 6)] == [{}] * 4

    def test_what_could_not_be_judged_is_named(self, tmp_path):
        lengths = {"g0f000": 1, "g0f001": 2, "g0f002": 5, "aimd": 6, "long": 9}
        frames = [
            labelled(
                frame, 0.0, np.zeros((len(frame), 3)), config_id=name, step=step, converged=True, settings_hash="h"
            )
            for name, length in lengths.items()
            for step, frame in enumerate(rocks(10, name)[:length])
        ]
        write_frames(tmp_path / "frames.extxyz", frames)
        assert too_short(read_frames(tmp_path / "frames.extxyz")) == {
            "jumps and work balance": ["g0f000"],
            "course of forces and path": ["g0f000", "g0f001", "g0f002"],
            "energies of other frames": ["g0f000", "g0f001", "g0f002", "aimd"],
        }

    def test_thinned_runs_are_too_short(self):
        assert too_short([f for f in GPAW if f.info["config_id"] == "x1.00_o0"][::3])["jumps and work balance"]


STATES = {
    "one": lambda step: 0,
    "alternating": lambda step: step % 2,
    "hop at 14": lambda step: int(step >= 14),
}


class TestStates:
    """A run of 20 frames whose oxidation states change, with planted errors; through its file."""

    @pytest.fixture(scope="class")
    def run(self):
        return toy_md(STARTS["x2.50_o0"], 20)

    def stored(self, tmp_path, run, states, shifts_eV=None, change=None):
        """The run written and read again, an atom of vanadium V4+ in the first or the second state."""
        frames = []
        for frame in run:
            step, atoms, forces = frame.info["step"], bare(frame), frame.get_forces()
            vanadium = np.flatnonzero(atoms.numbers == 23)
            oxidation = np.where(atoms.numbers == 23, 3, 0)
            oxidation[vanadium[STATES[states](step)]] = 4
            atoms.set_array("oxidation", oxidation)
            if change is not None and step >= 14:
                atoms.positions, forces = change(atoms.positions), change(forces)
            energy = frame.get_potential_energy() + (shifts_eV or {}).get(step, 0.0)
            frames.append(labelled(atoms, energy, forces, **frame.info))
        write_frames(tmp_path / "frames.extxyz", frames)
        return read_frames(tmp_path / "frames.extxyz")

    @pytest.mark.parametrize("states", STATES)
    def test_exchanged_atoms_are_found_whatever_the_states(self, tmp_path, run, states):
        found = check_labelled(self.stored(tmp_path, run, states, change=lambda values: exchange(values, -1, -9)))
        assert sorted(found) == [("t", step) for step in range(14, 20)]
        assert all(reason == "wrong_structure" and "exchanged places" in said for reason, said in found.values())

    @pytest.mark.parametrize("states", ["one", "hop at 14"])
    def test_an_energy_off_those_of_its_state(self, tmp_path, run, states):
        found = check_labelled(self.stored(tmp_path, run, states, {10: 1.0}))
        assert list(found) == [("t", 10)] and found["t", 10][0] == "corrupted"

    @pytest.mark.parametrize("states", ["alternating", "hop at 14"])
    def test_energies_of_different_states_are_not_compared(self, tmp_path, run, states):
        other = {step: 2.0 for step in range(20) if STATES[states](step)}
        assert check_labelled(self.stored(tmp_path, run, states, other)) == {}

    @pytest.mark.parametrize(
        ("states", "unchecked"),
        [
            ("one", []),
            ("hop at 14", ["energies of other frames"]),
            ("alternating", ["jumps and work balance", "course of forces and path", "energies of other frames"]),
        ],
    )
    def test_a_state_too_short_to_be_judged_is_named(self, tmp_path, run, states, unchecked):
        assert too_short(self.stored(tmp_path, run, states)) == {check: ["t"] for check in unchecked}

    @pytest.mark.parametrize("states", STATES)
    def test_the_data_set_leaves_them_out(self, tmp_path, run, states):
        frames = self.stored(tmp_path, run, states, change=lambda values: exchange(values, -1, -9))
        dataset = build_dataset([*frames, *rocks(10, "other")], SETTINGS, 1, "h")
        assert [(item["config_id"], item["step"]) for item in dataset.left_out] == [("t", k) for k in range(14, 20)]


class TestPlaces:
    @pytest.mark.parametrize("timestep_fs", [2.0, None])
    @pytest.mark.parametrize("steps", [[10], range(20, 28), range(4)])
    @pytest.mark.parametrize("pair", [(0, -1), (-1, -9)])
    def test_exchanged_atoms(self, timestep_fs, steps, pair):
        def change(atoms):
            atoms.positions = exchange(atoms.positions, *pair)

        found = check_run(with_atoms(gpaw_run(), steps, change), timestep_fs)
        assert sorted(found) == list(steps)
        assert all(reason == "wrong_structure" and "exchanged places" in said for reason, said in found.values())

    @pytest.mark.parametrize("far_A", [0.2, 1.0])
    def test_a_jump(self, far_A):
        def change(atoms):
            atoms.positions[7, 2] += far_A

        found = check_run(with_atoms(gpaw_run(), [10], change))
        assert list(found) == [10] and found[10][0] == "wrong_structure" and "atom 7" in found[10][1]

    def test_the_geometry_of_the_next_frame(self):
        run = gpaw_run()
        run[10] = replace(run[10], atoms=run[11].atoms)
        assert check_run(run)[10][0] == "wrong_structure"

    def test_other_species(self):
        run = gpaw_run()
        run[5] = replace(run[5], atoms=bare(STARTS["x2.00_o0"]), forces_eV_A=run[5].forces_eV_A[:38])
        assert check_run(run)[5][0] == "wrong_structure"


def test_runs_are_told_apart():
    frames = [frame.copy() for frame in GPAW]
    for new, old in zip(frames, GPAW, strict=True):
        new.calc = old.calc
    wrong = next(f for f in frames if (f.info["config_id"], f.info["step"]) == ("x1.00_o0", 7))
    wrong.calc = labelled(wrong, wrong.calc.results["energy"], random_error(wrong.calc.results["forces"])).calc
    found = check_labelled(frames)
    assert list(found) == [("x1.00_o0", 7)]
    assert found["x1.00_o0", 7][0] in set(LabelRefusal)


SYMBOLS = np.array(["Na"] * 5 + ["V"] * 3 + ["O"] * 12)


def smooth_residuals(configurations=8, frames=20, seed=0):
    """What a model leaves of good labels: errors that change slowly along a run, larger in some runs than in others."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(configurations):
        start, drift = rng.standard_normal((2, len(SYMBOLS), 3))
        energy, slope = rng.normal(0, 2), rng.normal(0, 0.1)
        for step in range(frames):
            noise = 0.02 * rng.standard_normal(start.shape)
            forces = (0.1 + 0.05 * number) * (start + drift * step / frames) + noise
            about = (f"c{number}", step, "validation" if step == 7 else "train", SYMBOLS)
            found.append(Residual(*about, forces, energy + slope * step + rng.normal(0, 0.2)))
    return found


def wrong(found, config_id, step, forces=lambda f: f, energy=0.0):
    return [
        replace(r, forces_eV_A=forces(r.forces_eV_A), energy_meV_atom=r.energy_meV_atom + energy)
        if r.config_id == config_id and (step is None or r.step == step)
        else r
        for r in found
    ]


class TestSuspects:
    def only(self, found, name, why):
        table = suspects(found)
        assert suspect_names(table) == [name]
        assert table.loc[table["suspect"], "why"].item().startswith(why)

    def test_good_labels_are_not_suspect(self):
        for seed in range(10):
            assert suspect_names(suspects(smooth_residuals(seed=seed))) == []

    @pytest.mark.parametrize("step", [0, 1, 7, 19])
    def test_wrong_forces(self, step):
        self.only(wrong(smooth_residuals(), "c3", step, random_error), f"c3/{step}", "forces")

    def test_one_wrong_atom(self):
        def change(forces):
            changed = forces.copy()
            changed[6] += [1.5, 0, 0]
            return changed

        table = suspects(wrong(smooth_residuals(), "c3", 9, change))
        assert suspect_names(table) == ["c3/9"]
        assert "force of an atom" in table.loc[table["suspect"], "why"].item()

    def test_a_wrong_energy(self):
        self.only(wrong(smooth_residuals(), "c5", 11, energy=-50), "c5/11", "energy")

    def test_the_energies_of_a_batch(self):
        table = suspects(wrong(smooth_residuals(), "c2", None, energy=50))
        assert set(table.loc[table["suspect"], "config_id"]) == {"c2"}
        assert table["suspect"].sum() == 20

    def test_the_ensemble_may_err_in_a_hot_run(self):
        """Ten times the error in a whole run is the model's, not the labels'."""
        assert suspect_names(suspects(wrong(smooth_residuals(), "c1", None, lambda forces: 10 * forces))) == []

    def test_frames_without_neighbours(self):
        lone = [replace(r, config_id=f"{r.config_id}s{r.step}") for r in smooth_residuals(frames=10)]
        found = wrong(lone, "c0s3", 3, lambda forces: 40 * forces)
        table = suspects(found)
        assert "c0s3/3" in suspect_names(table)

    def test_too_few_to_judge(self):
        assert np.isnan(robust_scores(np.arange(5.0), 0.1)).all()
        assert suspect_names(suspects(wrong(smooth_residuals(1, 4), "c0", 2, random_error))) == []
        assert len(suspects([])) == 0

    def test_scores_are_robust(self):
        """The score of a normal sample is its z-score, whatever one outlier does."""
        values = np.random.default_rng(0).normal(5, 2, 4000)
        values[0] = 1e6
        assert robust_scores(values, 0.1)[1:] == pytest.approx((values[1:] - 5) / 2, abs=0.15)

    def test_the_table_in_a_file(self, tmp_path):
        table = suspects(wrong(smooth_residuals(), "c3", 4, random_error))
        table.to_csv(tmp_path / "suspects.csv", index=False)
        again = read_suspects(tmp_path / "suspects.csv")
        assert suspect_names(again) == suspect_names(table) and list(again["why"]) == list(table["why"])

    def test_the_line_in_the_log(self):
        assert "20 suspect labels: a/0, " in describe_suspects([f"a/{k}" for k in range(20)])
        assert "and 12 more" in describe_suspects([f"a/{k}" for k in range(20)])

    def test_new_labels_are_always_looked_at(self):
        frames = [f for name in ("a", "b", "g0f000", "g1f000", "g1f001") for f in rocks(10, name)]
        chosen = frames_to_audit(frames, 1, generation=2, limit=30)
        names = {frame.info["config_id"] for frame in chosen}
        assert len(chosen) == 30 and names > {"g1f000", "g1f001"}
        others = {frames_to_audit(frames, 1, g, limit=10)[0].info["config_id"] for g in range(3, 12)}
        assert len(others) > 2


class TestDataset:
    def test_a_frame_that_contradicts_its_run_is_left_out(self, caplog):
        logging.getLogger("redoxmd").propagate = True
        run = toy_md(STARTS["x3.00_o1"], 12)
        run[6].calc.results["forces"] = random_error(run[6].calc.results["forces"])
        dataset = build_dataset(run, SETTINGS, 1, "h")
        assert len(dataset.frames) == 11
        (record,) = dataset.left_out
        assert (record["config_id"], record["step"], record["reason"]) == ("t", 6, "corrupted")
        assert "t step 6 is left out, corrupted: forces" in caplog.text

    def test_what_was_too_short_to_judge_is_recorded(self):
        assert build_dataset(rocks(3), SETTINGS, 1, "h").too_short == {
            "course of forces and path": ["a"],
            "energies of other frames": ["a"],
        }

    def test_the_work_imbalance_of_real_runs_as_plain_numpy_gives_it(self):
        runs = {}
        for frame in GPAW:
            runs.setdefault(frame.info["config_id"], []).append(frame)
        found = {run["config_id"]: run for run in work_imbalances(GPAW)}
        for name in ("x3.00_o0", "x2.00_o1"):
            run = runs[name]
            assert [frame.info["step"] for frame in run] == list(range(len(run)))
            positions = np.array([frame.positions for frame in run])
            forces = np.array([frame.get_forces() for frame in run])
            energies = np.array([frame.get_potential_energy() for frame in run])
            work = 0.5 * ((forces[1:] + forces[:-1]) * np.diff(positions, axis=0)).sum(axis=(1, 2))
            assert found[name]["mean_meV"] == pytest.approx(1000 * (np.diff(energies) + work).mean(), abs=0.01)
            assert found[name]["intervals"] == len(run) - 1
        assert len(found) == 7 and all(run["mean_meV"] < -10 for run in found.values())

    def test_a_run_whose_energy_falls_without_work_is_left_out_if_a_limit_is_set(self, tmp_path, caplog):
        logging.getLogger("redoxmd").propagate = True
        steady = toy_md(STARTS["x3.00_o1"], 12, config_id="steady")
        falling = toy_md(STARTS["x2.00_o0"], 12, config_id="falling")
        for k, frame in enumerate(falling):
            frame.calc.results["energy"] -= 0.02 * k
        write_frames(tmp_path / "frames.extxyz", steady + falling)
        stored = read_frames(tmp_path / "frames.extxyz")
        settings = SETTINGS.model_copy(update={"work_imbalance_meV": 5.0})
        dataset = build_dataset(stored, settings, 1, "h")
        assert {frame.info["config_id"] for frame in dataset.frames} == {"steady"}
        assert {(item["config_id"], item["reason"]) for item in dataset.left_out} == {("falling", "unconverged")}
        assert "work_imbalance_meV 5" in dataset.left_out[0]["detail"]
        by_run = {run["config_id"]: run["mean_meV"] for run in dataset.work_imbalances}
        assert by_run["falling"] == pytest.approx(-20, abs=2) and abs(by_run["steady"]) < 2
        assert len(build_dataset(stored, SETTINGS, 1, "h").frames) == 24
        assert "falling is left out, unconverged: energies and work" in caplog.text
        chosen = settings.model_copy(update={"test_configurations": ("falling",)})
        with pytest.raises(DataError, match="test_configurations: falling would be left out as unconverged, energies"):
            build_dataset(stored, chosen, 1, "h")

    def test_excluded_frames(self):
        settings = SETTINGS.model_copy(update={"exclude": ("a/3", "g5f001/2")})
        dataset = build_dataset(rocks(10), settings, 1, "h")
        assert 3 not in {frame.info["step"] for frame in dataset.frames} and len(dataset.frames) == 9
        assert dataset.left_out == [
            {"config_id": "a", "step": 3, "reason": "excluded", "detail": "named in train.exclude"}
        ]

    @pytest.mark.parametrize("name", ["a/33", "g0f001/4"])
    def test_an_excluded_frame_that_is_not_there(self, name):
        settings = SETTINGS.model_copy(update={"exclude": (name,)})
        with pytest.raises(DataError, match=rf"train\.exclude: no frame {name}; near it there are .*{name[:-2]}"):
            build_dataset(rocks(10) + rocks(3, "g0f001")[1:], settings, 1, "h")

    def test_a_late_label_is_excluded_where_it_can_be(self):
        assert exclusions(("a/1", "g0f001/2", "g2f000/0"), 0) == ["a/1"]
        assert exclusions(("a/1", "g0f001/2", "g2f000/0"), 1) == ["a/1", "g0f001/2"]


def test_status_names_suspects_and_what_was_left_out(tmp_path):
    record = {
        "left_out": [{"config_id": "a", "step": 3, "reason": "corrupted"}],
        "too_short": {"course of forces and path": ["g0f000", "g0f001"]},
        "work_imbalances": [
            {"config_id": "a", "mean_meV": -2.0, "error_meV": 1.0, "intervals": 9},
            {"config_id": "b", "mean_meV": -19.7, "error_meV": 5.4, "intervals": 27},
        ],
    }
    put(tmp_path, "train/gen0/dataset.json", record)
    table = suspects(wrong(smooth_residuals(), "c3", 4, random_error))
    table.to_csv(tmp_path / "train/gen0/suspects.csv", index=False)
    text = describe_status(tmp_path, CONFIG)
    assert "  left out: 1 frames (a/3 corrupted)" in text
    assert "  too short for the check of course of forces and path: 2 configurations (g0f000, g0f001)" in text
    assert "  energy change and work of the forces differ by up to -19.7 ± 5.4 meV a step (b, of 2 runs)" in text
    assert "  suspects: 1 of 160 frames checked (c3/4), see " in text
    suspects(smooth_residuals()).to_csv(tmp_path / "train/gen0/suspects.csv", index=False)
    put(tmp_path, "train/gen0/dataset.json", {"left_out": []})
    text = describe_status(tmp_path, CONFIG)
    assert "suspects:" not in text and "left out:" not in text and "not scored" not in text
    suspects(smooth_residuals(1, 4)).to_csv(tmp_path / "train/gen0/suspects.csv", index=False)
    assert "  not scored by the ensemble: 4 of 4 frames" in describe_status(tmp_path, CONFIG)


FRAMES = 12
PLANTED = {
    # error: (frame, seen by its run, seen by the ensemble)
    "random": ("x2.00_o0_r0/8", True, True),
    "constant": ("x2.00_o0_r1/8", True, True),
    "exchanged O, O": ("x2.00_o0_r2/8", True, True),
    "exchanged Na, O": ("x2.50_o0_r0/8", True, True),
    "functional": ("x2.50_o0_r2/8", True, True),
    "energy": ("x3.00_o0_r0/8", True, True),
    # Its force score is 5.9, the highest of all first frames, but below the limit of 7.
    "random without net force, first frame": ("x3.00_o0_r1/0", False, False),
    "batch 50 meV/atom": ("x2.50_o0_r1/*", False, True),
    "batch 5 meV/atom": ("x3.00_o0_r2/*", False, False),
}


def plant(frame, error):
    results, n = frame.calc.results, len(frame)
    change = {
        "constant": constant_error,
        "exchanged O, O": exchanged_oxygens,
        "exchanged Na, O": exchanged_species,
        "functional": lambda forces: 1.1 * forces,
        "random without net force, first frame": lambda forces: (
            random_error(forces) - random_error(forces).mean(axis=0)
        ),
    }.get(error, random_error if error == "random" else lambda forces: forces)
    shift = {"functional": 0.05, "energy": 0.05, "batch 50 meV/atom": 0.05, "batch 5 meV/atom": 0.005}.get(error, 0.0)
    results["forces"] = change(results["forces"])
    results["energy"] += shift * n


@pytest.mark.slow
def test_planted_errors(tmp_path, monkeypatch):
    """The table of docs/silent-errors.md: errors in 12 runs of toy MD, an ensemble trained on them."""
    frames = [
        frame
        for name in ("x2.00_o0", "x2.50_o0", "x3.00_o0")
        for repeat in range(4)
        for frame in toy_md(STARTS[name], FRAMES, seed=repeat, config_id=f"{name}_r{repeat}")
    ]
    clean = {f"{frame.info['config_id']}/{frame.info['step']}" for frame in frames}
    for error, (where, *_) in PLANTED.items():
        for frame in frames:
            name, step = frame.info["config_id"], frame.info["step"]
            if where in (f"{name}/{step}", f"{name}/*"):
                plant(frame, error)
                clean.discard(f"{name}/{step}")
    by_run = {f"{name}/{step}" for name, step in check_labelled(frames)}

    monkeypatch.setattr(redoxmd.train.dataset, "check_labelled", lambda _: {})
    settings = Train(
        radial_functions=10, max_steps=600, validate_every=100, learning_rate=3e-3, ema_decay=0.98, device="cpu"
    )
    dataset = build_dataset(frames, settings, 1, "h")
    members = [
        train_member(
            dataset, Member(features=size, layers=2), settings, 0, size, None, Checkpoint(tmp_path, f"m{size}")
        )
        for size in (24, 28, 32)
    ]
    table = suspects(residuals(Ensemble([result.member for result in members]), dataset.frames))
    by_ensemble = set(suspect_names(table))

    def seen(where, found):
        hits = {name for name in found if name == where or (where.endswith("*") and name.startswith(where[:-1]))}
        return len(hits) == (FRAMES if where.endswith("*") else 1)

    measured = {error: (where, seen(where, by_run), seen(where, by_ensemble)) for error, (where, *_) in PLANTED.items()}
    print(*(f"{error}: run {run}, ensemble {ensemble}" for error, (_, run, ensemble) in measured.items()), sep="\n")
    print(table.groupby("config_id")[["energy_error_meV_atom", "batch_score"]].median().round(1).to_string())
    print(
        table.set_index(["config_id", "step"])
        .loc[lambda t: t["suspect"] | (t.index.get_level_values("step") == 0)]
        .round(2)
        .to_string()
    )
    assert measured == PLANTED
    assert by_run & clean == set() and by_ensemble & clean == set()
