"""Splits by configuration, through the files that the workflow passes."""

import numpy as np
import pytest

from redoxmd.config.sections import Structures, Train
from redoxmd.errors import DataError
from redoxmd.files.frames import labelled, read_frames, write_frames
from redoxmd.files.records import read_json, write_json
from redoxmd.select import refuse_held_out
from redoxmd.structures.build import build_structure
from redoxmd.structures.nvp import nvp_cell
from redoxmd.structures.request import parse_name
from redoxmd.train.dataset import build_dataset
from redoxmd.train.split import find_configurations, fold_of

NVP = Structures()


def run(name, config_id=None, count=6, seed=0):
    """A made-up reference MD: rattled frames of a structure, energies that no audit objects to."""
    atoms = build_structure(parse_name(f"{name}_1x1x1"), NVP, 1)
    rng = np.random.default_rng(seed + len(name))
    frames = []
    for step in range(count):
        frame = atoms.copy()
        frame.positions += 0.05 * rng.standard_normal(frame.positions.shape)
        info = {"config_id": config_id or name, "step": step, "converged": True, "settings_hash": "h"}
        frames.append(labelled(frame, -100.0, np.zeros((len(frame), 3)), **info))
    return frames


def copy_of(name, config_id):
    """The frames of a structure under a two-fold axis of the framework: other sites, the same ordering."""
    frames = run(name, config_id)
    full = nvp_cell()
    for frame in frames:
        # R-3c has the inversion at the origin of the primitive cell.
        frame.set_scaled_positions(-frame.get_scaled_positions())
        assert len(frame) <= len(full)
    return frames


def through_file(tmp_path, *runs):
    frames = [frame for run in runs for frame in run]
    write_frames(tmp_path / "all.extxyz", frames)
    return read_frames(tmp_path / "all.extxyz")


def settings(**changes):
    return Train(validation_fraction=0.1, **changes)


NAMES = ["x1.000_random0", "x1.500_random0", "x2.000_random0", "x2.000_random1", "x2.500_random0", "x3.000_random0"]


def sets(dataset):
    return {(f.info["config_id"], f.info["set"]) for f in dataset.frames}


def test_validation_is_whole_configurations_that_share_no_ordering_with_training(tmp_path):
    frames = through_file(tmp_path, *(run(name) for name in NAMES), copy_of("x2.000_random0", "copy"))
    dataset = build_dataset(frames, settings(test_configurations=("x2.500_random0",)), 1, "h", NVP)
    by_config = sets(dataset)
    assert len(by_config) == 7, "each configuration is in one set"
    assert ("x2.500_random0", "test") in by_config
    counts = dataset.counts()
    assert counts["validation"] >= 0.1 * 36 and counts["train"] >= 18
    # The copy shares the group, so the set, of what it copies.
    assert dataset.configurations["copy"].group == dataset.configurations["x2.000_random0"].group
    for seed in range(6):
        found = dict(sets(build_dataset(frames, settings(), seed, "h", NVP)))
        assert found["copy"] == found["x2.000_random0"]


def test_seeds_draw_different_configurations(tmp_path):
    frames = through_file(tmp_path, *(run(name) for name in NAMES))
    drawn = {
        frozenset(c for c, s in sets(build_dataset(frames, settings(), seed, "h", NVP)) if s == "validation")
        for seed in range(12)
    }
    assert len(drawn) >= 3


def test_named_validation_configurations(tmp_path):
    frames = through_file(tmp_path, *(run(name) for name in NAMES))
    dataset = build_dataset(frames, settings(validation_configurations=("x1.000_random0",)), 1, "h", NVP)
    assert {c for c, s in sets(dataset) if s == "validation"} == {"x1.000_random0"}
    with pytest.raises(DataError, match=r"train\.validation_configurations: no frames of \['nowhere'\]; there are"):
        build_dataset(frames, settings(validation_configurations=("nowhere",)), 1, "h", NVP)
    both = settings(validation_configurations=("x1.000_random0",), test_configurations=("x1.000_random0",))
    with pytest.raises(DataError, match="is a test configuration or a symmetry copy"):
        build_dataset(frames, both, 1, "h", NVP)


def test_a_symmetry_copy_of_the_test_configuration_is_refused(tmp_path):
    frames = through_file(tmp_path, *(run(name) for name in NAMES), copy_of("x2.000_random1", "again"))
    chosen = settings(test_configurations=("x2.000_random1",))
    with pytest.raises(DataError, match=r"x2\.000_random1 is a symmetry copy of again .* exclude"):
        build_dataset(frames, chosen, 1, "h", NVP)
    both = settings(test_configurations=("x2.000_random1", "again"))
    assert build_dataset(frames, both, 1, "h", NVP).counts()["test"] == 12
    without = chosen.model_copy(update={"exclude": ("again",)})
    dataset = build_dataset(frames, without, 1, "h", NVP)
    assert {row["reason"] for row in dataset.left_out} == {"excluded"} and len(dataset.left_out) == 6


def test_labels_in_a_test_ordering_are_left_out_with_their_reason(tmp_path):
    labels = copy_of("x2.000_random1", "g0f000")[:2], run("x2.500_random3", "g0f001", 2)
    frames = through_file(tmp_path, *(run(name) for name in NAMES), *labels)
    dataset = build_dataset(frames, settings(test_configurations=("x2.000_random1",)), 1, "h", NVP)
    assert [(row["config_id"], row["step"], row["reason"]) for row in dataset.left_out] == [
        ("g0f000", 0, "test_ordering"),
        ("g0f000", 1, "test_ordering"),
    ]
    assert "g0f000" not in dataset.configurations and dataset.configurations["g0f001"].set in ("train", "validation")


def test_labels_join_the_set_of_their_ordering(tmp_path):
    for seed in range(5):
        frames = through_file(
            tmp_path, *(run(name) for name in NAMES), *(copy_of(n, f"g0f00{i}") for i, n in enumerate(NAMES))
        )
        found = dict(sets(build_dataset(frames, settings(), seed, "h", NVP)))
        assert all(found[f"g0f00{i}"] == found[name] for i, name in enumerate(NAMES))


def test_with_few_configurations_the_ends_of_runs_validate(tmp_path):
    frames = through_file(tmp_path, run("x1.000_random0", count=20), run("x2.000_random0", count=10))
    dataset = build_dataset(frames, settings(), 1, "h", NVP)
    last = {(f.info["config_id"], f.info["step"]) for f in dataset.subset("validation")}
    assert last == {("x1.000_random0", 18), ("x1.000_random0", 19), ("x2.000_random0", 9)}
    assert {item.set for item in dataset.configurations.values()} == {"mixed"}


def test_unknown_cells_are_their_own_groups(tmp_path):
    strange = run("x1.000_random0")
    for frame in strange:
        frame.set_cell(np.asarray(frame.cell) * [1, 1, 1.5], scale_atoms=True)
    found = find_configurations(through_file(tmp_path, strange, run("x2.000_random0")), NVP)
    assert (found["x1.000_random0"].group, found["x1.000_random0"].comparable) == ("x1.000_random0", False)
    assert found["x2.000_random0"].comparable


def test_folds_leave_groups_out_whole(tmp_path):
    frames = through_file(tmp_path, *(run(name) for name in NAMES), copy_of("x2.000_random0", "copy"))
    dataset = build_dataset(frames, settings(test_configurations=("x2.500_random0",)), 1, "h", NVP)
    one_out = fold_of(dataset.configurations, 5, 1)
    assert "x2.500_random0" not in one_out
    assert sorted({name: fold for name, fold in one_out.items() if name != "copy"}.values()) == [0, 1, 2, 3, 4]
    assert one_out["copy"] == one_out["x2.000_random0"]
    assert set(fold_of(dataset.configurations, 2, 1).values()) == {0, 1}


def test_candidates_in_held_out_orderings_are_not_labelled(tmp_path):
    """Through the files: dataset.json says what is held out, the candidates are read from their file."""
    frames = through_file(tmp_path, *(run(name) for name in NAMES))
    chosen = settings(test_configurations=("x2.500_random0",), validation_configurations=("x2.000_random0",))
    dataset = build_dataset(frames, chosen, 1, "h", NVP)
    write_json(
        tmp_path / "dataset.json", {"configurations": [item.record() for item in dataset.configurations.values()]}
    )
    found = read_json(tmp_path / "dataset.json")["configurations"]
    held_out = {item["group"]: item["set"] for item in found if item["set"] != "train"}
    candidates = [copy_of("x2.500_random0", "a")[0], run("x2.500_random1")[0], copy_of("x2.000_random0", "b")[0]]
    for step, frame in enumerate(candidates):
        frame.info = {"structure": "s", "step": step, "spread_eV_A": 1.5}
    allowed, refused = refuse_held_out(through_file(tmp_path, candidates), held_out, NVP)
    assert [frame.info["step"] for frame in allowed] == [1]
    assert [(row["step"], row["reason"]) for row in refused] == [(0, "test_ordering"), (2, "validation_ordering")]
