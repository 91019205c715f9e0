import ase.io
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation

from redoxmd.config.declared import settings_for
from redoxmd.config.sections import Select
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.records import write_json
from redoxmd.model.ensemble import Ensemble, save_ensemble
from redoxmd.select import farthest_points, geometry_hash, select
from tests import scripts
from tests.conftest import rock, spring_label
from tests.model.test_ensemble import aware_ensemble, members
from tests.test_explore import SETTINGS, scripted

__all__ = ["scripted"]

TOLERANCE_A = 0.05


def candidate(seed, spread=1.5):
    atoms = rock(seed)
    atoms.info = {"structure": "s", "step": seed, "spread_eV_A": spread}
    return atoms


@pytest.fixture(scope="module")
def ensemble():
    return Ensemble(members())


def test_budget_and_reasons(ensemble):
    frames = [candidate(seed, spread=1 + seed / 10) for seed in range(8)]
    chosen = select([*frames, candidate(3)], [candidate(5)], ensemble, Select(budget=3), 2)
    assert len(chosen.frames) == 3
    assert [frame.info["label_id"] for frame in chosen.frames] == ["g2f000", "g2f001", "g2f002"]
    reasons = [row["reason"] for row in chosen.refused]
    assert sorted(set(reasons)) == ["already_labelled", "duplicate", "over_budget"]
    assert (reasons.count("already_labelled"), reasons.count("duplicate")) == (1, 1)
    assert len(chosen.frames) + len(chosen.refused) == 9


def test_the_most_uncertain_comes_first(ensemble):
    chosen = select([candidate(0, 1.1), candidate(1, 4.2), candidate(2, 2.0)], [], ensemble, Select(budget=2), 0)
    assert chosen.frames[0].info["step"] == 1


def test_precursors_of_unforeseen_ends_come_first(ensemble):
    frames = [candidate(0, 4.0), candidate(1, 0.2), candidate(2, 0.3), candidate(3, 2.0)]
    frames[1].info["ended"] = frames[2].info["ended"] = "close_contact"
    chosen = select(frames, [], ensemble, Select(budget=3), 0)
    assert {frame.info["step"] for frame in chosen.frames[:2]} == {1, 2}
    assert len(select(frames, [], ensemble, Select(budget=1), 0).frames) == 1


def test_more_precursors_than_the_budget(ensemble):
    """The most uncertain of them, then those that differ most: not the first in file order."""
    frames = [candidate(seed, spread) for seed, spread in enumerate([4.5, 0.2, 0.3, 0.9, 0.1, 0.4])]
    for frame in frames[1:]:
        frame.info["ended"] = "close_contact"
    chosen = select(frames, [], ensemble, Select(budget=3), 0)
    descriptors = np.stack([ensemble.descriptor(frame) for frame in frames])
    expected = [3]
    for _ in range(2):
        gap = [min(np.linalg.norm(descriptors[k] - descriptors[c]) for c in expected) for k in range(1, 6)]
        expected.append(1 + int(np.argmax(gap)))
    assert [frame.info["step"] for frame in chosen.frames] == expected


def test_a_precursor_is_no_duplicate_of_an_ordinary_candidate(ensemble):
    twin = candidate(0, 0.3)
    twin.info |= {"step": 99, "ended": "close_contact"}
    chosen = select([candidate(0, 4.0), candidate(1, 4.5), twin], [], ensemble, Select(budget=1), 0)
    assert [frame.info["step"] for frame in chosen.frames] == [99]
    assert sorted(row["reason"] for row in chosen.refused) == ["duplicate", "over_budget"]


class TestThroughFiles:
    """Explore writes candidates, select reads them: no object in memory passes between the two."""

    def written(self, folder, runs):
        for number, run in enumerate(runs):
            write_frames(folder / f"s{number}.candidates.extxyz", run.candidates)
        return sorted(folder.glob("*.candidates.extxyz"))

    def selected(self, files, ensemble, budget, folder):
        chosen = select([f for path in files for f in read_frames(path)], [], ensemble, Select(budget=budget), 1)
        write_frames(folder / "selected.extxyz", chosen.frames)
        return ase.io.read(folder / "selected.extxyz", ":"), chosen.refused

    def truth(self, files, ensemble, start, budget):
        """Farthest points from descriptors by plain numpy, over frames that ASE alone has read."""
        frames = [frame for path in files for frame in ase.io.read(path, ":")]
        points = np.array([ensemble.descriptor(frame) for frame in frames])
        apart = np.sqrt(((points[:, None] - points[None, :]) ** 2).sum(axis=2))
        order = start(frames)
        while len(order) < budget:
            order.append(int(apart[:, order].min(axis=1).argmax()))
        return [(frames[k].info["structure"], frames[k].info["step"]) for k in order]

    def names(self, frames):
        return [(frame.info["structure"], frame.info["step"]) for frame in frames]

    def test_the_most_uncertain_candidate_is_first_wherever_it_stands(self, scripted, ensemble, tmp_path):
        spreads = np.full(41, 1.2)
        spreads[[10, 35]] = 3.0, 4.0
        files = self.written(tmp_path, [scripted([1.5] * 41), scripted(spreads, seed=1, name="other")])
        chosen, refused = self.selected(files, ensemble, 4, tmp_path)
        expected = self.truth(
            files, ensemble, lambda frames: [int(np.argmax([f.info["spread_eV_A"] for f in frames]))], 4
        )
        assert self.names(chosen) == expected
        assert chosen[0].info["spread_eV_A"] == pytest.approx(4.0) and chosen[0].info["step"] == 35
        assert len(refused) == 18 - 4 and {row["reason"] for row in refused} == {"over_budget"}

    def test_no_candidate_of_a_run_that_survived_says_that_it_ended(self, scripted, tmp_path):
        (path,) = self.written(tmp_path, [scripted([2.0] * 41)])
        for frame in ase.io.read(path, ":"):
            assert "ended" not in frame.info and frame.pbc.all()

    def test_the_frame_before_a_guard_is_taken_before_all_others(self, scripted, ensemble, tmp_path):
        settings = SETTINGS.model_copy(update={"max_temperature_factor": 4.0, "min_distance_fraction": 0.01})
        pushed = scripted([1.3] * 41, settings=settings, push=40.0)
        assert pushed.end_reason == "temperature_runaway"
        files = self.written(tmp_path, [scripted([4.5] * 41, seed=1, name="other"), pushed])
        chosen, _ = self.selected(files, ensemble, 3, tmp_path)
        expected = self.truth(
            files, ensemble, lambda frames: [k for k, f in enumerate(frames) if f.info.get("ended")], 3
        )
        assert self.names(chosen) == expected
        assert [frame.info.get("ended") for frame in chosen] == ["temperature_runaway", None, None]


class TestOtherStates:
    """Second labels of one geometry in another charge order, from files to a file."""

    @pytest.fixture
    def files(self, tmp_path):
        frames = []
        for seed in range(6):
            frame = rock(seed, repeat=(2, 2, 1))
            frame.info = {"structure": "s", "step": seed, "spread_eV_A": 1 + seed / 10}
            redox = np.flatnonzero(frame.numbers == 23)
            frame.new_array("oxidation", np.zeros(len(frame), dtype=int))
            frame.arrays["oxidation"][redox] = np.where(np.arange(len(redox)) == 1, 4, 3)
            frames.append(frame)
        write_frames(tmp_path / "candidates.extxyz", frames)
        return tmp_path

    def selected(self, folder, ensemble, known=(), **settings):
        chosen = select(read_frames(folder / "candidates.extxyz"), known, ensemble, Select(**settings), 0)
        write_frames(folder / "selected.extxyz", chosen.frames)
        return ase.io.read(folder / "selected.extxyz", ":")

    @pytest.fixture(scope="class")
    def aware(self):
        return aware_ensemble()

    def test_the_lowest_exchange_of_the_geometries_chosen_first(self, files, aware):
        frames = self.selected(files, aware, budget=4, other_states=0.5)
        assert [frame.info.get("other_state", False) for frame in frames] == [False, False, True, True]
        for first, second in zip(frames[:2], frames[2:], strict=True):
            assert np.array_equal(first.positions, second.positions)
            held, moved = first.arrays["oxidation"], second.arrays["oxidation"]
            assert held.sum() == moved.sum() and np.count_nonzero(held != moved) == 2
            energies = {}
            four = int(np.flatnonzero(held == 4)[0])
            for three in np.flatnonzero(held == 3):
                state = held.copy()
                state[[three, four]] = 4, 3
                trial = first.copy()
                trial.arrays["oxidation"] = state
                energies[int(three)] = aware.predict(trial).energy_eV
            assert moved[min(energies, key=energies.get)] == 4

    def test_a_small_budget_has_one_second_label(self, files, aware):
        for budget, share in ((3, 0.25), (4, 0.1), (2, 0.4)):
            frames = self.selected(files, aware, budget=budget, other_states=share)
            assert [frame.info.get("other_state", False) for frame in frames] == [False] * (budget - 1) + [True]
        assert len(self.selected(files, aware, budget=1, other_states=0.5)) == 1

    def test_none_unless_asked_and_what_is_not_used_is_left_to_candidates(self, files, aware):
        assert not any("other_state" in frame.info for frame in self.selected(files, aware, budget=4))
        frames = self.selected(files, aware, budget=4, other_states=0.5)
        both = self.selected(files, aware, known=read_frames(files / "selected.extxyz"), budget=4, other_states=0.5)
        # The states of geometries that are labelled already are not labelled again; their geometries have others left.
        labelled = {(frame.info["step"], frame.arrays["oxidation"].tobytes()) for frame in frames}
        new = {(frame.info["step"], frame.arrays["oxidation"].tobytes()) for frame in both}
        assert len(new) == len(both) == 4 and not new & labelled


def test_nothing_to_select(ensemble):
    chosen = select([], [], ensemble, Select(), 0)
    assert (chosen.frames, chosen.refused) == ([], [])


def test_farthest_points_on_a_line():
    points = np.array([[0.0], [0.1], [5.0], [10.0], [9.9]])
    assert farthest_points(points, [0], 3) == [0, 3, 2]
    assert farthest_points(points, [0, 3], 3) == [0, 3, 2]
    assert sorted(farthest_points(points, [0], 99)) == [0, 1, 2, 3, 4]


def test_hash_sees_through_symmetry():
    atoms = rock(1)
    turned = atoms.copy()
    turn = Rotation.from_euler("xyz", [1.0, 0.2, -0.4]).as_matrix()
    turned.set_cell(np.asarray(atoms.cell) @ turn.T)
    turned.positions = (atoms.positions + np.array([0.5, 9.0, -3.0])) @ turn.T
    order = np.random.default_rng(0).permutation(len(atoms))
    assert geometry_hash(turned[order], TOLERANCE_A) == geometry_hash(atoms, TOLERANCE_A)


def test_hash_tells_geometries_apart():
    atoms = rock(1)
    moved = atoms.copy()
    moved.positions[2] += 0.2
    swapped = atoms.copy()
    swapped.numbers[[0, 1]] = swapped.numbers[[1, 0]]
    assert len({geometry_hash(a, TOLERANCE_A) for a in (atoms, moved, swapped)}) == 3


class TestNoveltyOfAtoms:
    """`select.novelty: atoms` by the script, from files to files; the truth is a search by plain numpy."""

    def labelled(self, seed, **info):
        frame = spring_label(rock(seed, repeat=(2, 1, 1)))
        frame.info |= {"config_id": f"c{seed}", "step": 0, **info}
        return frame

    def selected(self, folder, ensemble, candidates, dataset, budget):
        folder.mkdir(exist_ok=True)
        write_frames(folder / "candidates.extxyz", candidates)
        write_frames(folder / "dataset.extxyz", dataset)
        write_json(folder / "dataset.json", {"configurations": []})
        save_ensemble(folder / "ensemble.pt", ensemble)
        inputs = {"dataset": str(folder / "dataset.extxyz"), "record": str(folder / "dataset.json"), "bands": []}
        inputs |= {"ensemble": str(folder / "ensemble.pt"), "candidates": [str(folder / "candidates.extxyz")]}
        outputs = {"selected": str(folder / "selected.extxyz"), "refused": str(folder / "refused.csv")}
        settings = settings_for("select", Select(budget=budget, novelty="atoms"))
        scripts.execute("select", folder, {"select": settings}, inputs, outputs, {}, {}, {"gen": "1"})
        return [frame.info["step"] for frame in ase.io.read(outputs["selected"], ":")]

    def truth(self, ensemble, candidates, anchors, budget):
        """Every atom against every known atom of its element, one pair at a time."""
        atoms = [(ensemble.atom_descriptors(f).astype(float), f.numbers) for f in [*candidates, *anchors]]
        scale = {}
        for number in np.unique(candidates[0].numbers):
            rows = np.concatenate([x[z == number] for x, z in atoms])
            gaps = ((rows[:, None] - rows[None, :]) ** 2).sum(axis=2)
            scale[number] = np.sqrt(gaps.mean())
        pool, known, order = atoms[: len(candidates)], atoms[len(candidates) :], []
        while len(order) < budget:
            novelty = [
                max(
                    min(np.linalg.norm(x - y) for b, q in known for y in b[q == n]) / scale[n]
                    for x, n in zip(a, z, strict=True)
                )
                for a, z in pool
            ]
            order.append(int(np.argmax(np.where(np.isin(range(len(pool)), order), -1.0, novelty))))
            known.append(pool[order[-1]])
        return order

    def test_the_candidate_with_the_most_novel_atom_is_next(self, ensemble, tmp_path):
        candidates = [candidate(seed) for seed in range(8)]
        dataset = [self.labelled(20, set="train"), self.labelled(21, set="train")]
        expected = self.truth(ensemble, candidates, dataset, 4)
        assert self.selected(tmp_path, ensemble, candidates, dataset, 4) == expected

    def test_test_and_validation_frames_are_no_anchors(self, ensemble, tmp_path):
        """They are not trained on: what only they contain is as new as before."""
        candidates = [candidate(seed) for seed in range(8)]
        held = [candidates[k].copy() for k in self.truth(ensemble, candidates, [self.labelled(20)], 2)]
        for frame, name in zip(held, ("test", "validation"), strict=True):
            frame.positions += 1e-3 * np.random.default_rng(0).standard_normal(frame.positions.shape)
            frame.info = {"config_id": name, "step": 0, "set": name}
        held = [spring_label(frame) for frame in held]
        dataset = [self.labelled(20, set="train"), *held]
        assert self.selected(tmp_path, ensemble, candidates, dataset, 3) == self.truth(
            ensemble, candidates, dataset[:1], 3
        )
        as_training = [frame.copy() for frame in dataset]
        for frame in as_training:
            frame.info["set"] = "train"
        assert self.truth(ensemble, candidates, as_training, 3) != self.truth(ensemble, candidates, dataset[:1], 3)

    def test_one_new_surrounding_counts_in_a_large_cell(self, ensemble, tmp_path):
        """All atoms of one candidate differ a little, one atom of another differs much: mean features hide it."""
        base = rock(0, repeat=(3, 3, 2))
        shaken, planted = base.copy(), base.copy()
        shaken.positions += 0.05 * np.random.default_rng(1).standard_normal(base.positions.shape)
        planted.positions[0] += 0.5
        for number, frame in enumerate((shaken, planted)):
            frame.info = {"structure": "s", "step": number, "spread_eV_A": 2.0}
        dataset = [spring_label(base)]
        dataset[0].info |= {"config_id": "base", "step": 0, "set": "train"}
        mean = [np.linalg.norm(ensemble.descriptor(f) - ensemble.descriptor(base)) for f in (shaken, planted)]
        assert mean[0] > mean[1]
        assert self.selected(tmp_path, ensemble, [shaken, planted], dataset, 1) == [1]

    def test_precursors_first_as_by_mean_features(self, ensemble, tmp_path):
        candidates = [candidate(seed) for seed in range(6)]
        candidates[4].info["ended"] = "close_contact"
        dataset = [self.labelled(20, set="train")]
        chosen = self.selected(tmp_path, ensemble, candidates, dataset, 3)
        assert chosen[0] == 4
        rest = [c for c in candidates if c.info["step"] != 4]
        following = self.truth(ensemble, rest, [*dataset, candidates[4]], 2)
        assert chosen[1:] == [rest[k].info["step"] for k in following]


def test_the_job_needs_no_gpu_although_the_networks_are_trained_on_one(tmp_path, ensemble):
    """On a cluster `select` is a CPU job: `train.device: cuda` is no reason to fail there."""
    frames = [candidate(seed) for seed in range(3)]
    write_frames(tmp_path / "candidates.extxyz", frames)
    write_frames(tmp_path / "dataset.extxyz", [spring_label(rock(9))])
    write_json(tmp_path / "dataset.json", {"configurations": []})
    save_ensemble(tmp_path / "ensemble.pt", ensemble)
    inputs = {name: str(tmp_path / f"dataset.{end}") for name, end in {"dataset": "extxyz", "record": "json"}.items()}
    inputs |= {
        "ensemble": str(tmp_path / "ensemble.pt"),
        "candidates": [str(tmp_path / "candidates.extxyz")],
        "bands": [],
    }
    outputs = {"selected": str(tmp_path / "selected.extxyz"), "refused": str(tmp_path / "refused.csv")}
    scripts.execute(
        "select",
        tmp_path,
        {"select": settings_for("select", Select(budget=2))},
        inputs,
        outputs,
        {"CUDA_VISIBLE_DEVICES": ""},
        {"train": {"device": "cuda"}},
        {"gen": "1"},
    )
    assert len(read_frames(outputs["selected"])) == 2
    assert pd.read_csv(outputs["refused"])["reason"].tolist() == ["over_budget"]
