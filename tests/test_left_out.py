"""Comparisons on configurations left out: states, budgets and ways to choose, from a folder of frames and a config."""

import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from ase.calculators.singlepoint import SinglePointCalculator

from benchmarks import budget, choice, convergence, folds, left_out, peer, second_start
from redoxmd.config.load import load_config
from redoxmd.config.sections import Structures
from redoxmd.engines import get_engine, settings_hash
from redoxmd.engines.toy import LEVELS
from redoxmd.errors import DataError
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.records import file_sha256
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.model.ensemble import Ensemble
from redoxmd.structures.build import build_structure
from redoxmd.structures.request import parse_name
from redoxmd.train.cross_validation import without_fold
from redoxmd.train.trainer import save_member, train_member
from tests.conftest import rock
from tests.model.test_ensemble import members

RUNS = ["x2.000_random0", "x2.000_random1", "x2.500_random0", "x3.000_random0"]
HELD_OUT = "x2.000_random1"


@pytest.fixture
def config(tmp_path):
    """A config of the toy engine with two states, and its dataset of three frames of each of four orderings."""
    text = {
        "run": "left_out",
        "engine": {"name": "toy", "toy": {"two_state": True}},
        "electrons": {"levels": {"V": {n: {"moment_muB": m} for n, m in LEVELS.moments_muB["V"].items()}}},
        "train": {
            "datasets": [str(tmp_path / "data")],
            "test_configurations": [HELD_OUT],
            "members": [{"features": 8, "layers": 1}, {"features": 8, "layers": 1}],
            "max_steps": 6,
            "validate_every": 3,
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(text))
    settings, frames = load_config(tmp_path / "config.yaml").engine, []
    for name in RUNS:
        for step in range(3):
            atoms = build_structure(parse_name(f"{name}_1x1x1"), Structures(), 1)
            atoms.rattle(0.05, seed=step)
            result = get_engine(settings, (1, 1, 1), None).calculate(atoms)
            atoms.calc = SinglePointCalculator(
                atoms, energy=result.energy_eV, forces=result.forces_eV_A, magmoms=result.moments_muB
            )
            atoms.info |= {"config_id": name, "step": step, "time_fs": 2.0 * step, "converged": True}
            atoms.info |= {"engine": "toy", "settings_hash": settings_hash(settings)}
            atoms.info["total_moment_muB"] = float(np.sum(result.moments_muB))
            frames.append(atoms)
    folder = tmp_path / "data"
    folder.mkdir()
    write_frames(folder / "frames.extxyz", frames)
    card = {"engine": "toy", "settings_hash": settings_hash(settings)}
    card["files"] = {"frames.extxyz": file_sha256(folder / "frames.extxyz")}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(card))
    return tmp_path / "config.yaml"


def test_each_configuration_is_left_out_once_and_rows_are_kept(config, monkeypatch, capsys):
    trained, train = [], folds.train_member

    def spy(dataset, *arguments, **keywords):
        trained.append(({frame.info["config_id"] for frame in dataset.frames}, arguments[1].states))
        return train(dataset, *arguments, **keywords)

    monkeypatch.setattr(folds, "train_member", spy)
    table = config.parent / "rows.csv"
    monkeypatch.setattr(sys, "argv", ["left_out", str(config), "--output", str(table), "--seeds", "1", "2"])
    left_out.main()
    rows = pd.read_csv(table)
    judged = [name for name in RUNS if name != HELD_OUT]
    for _, group in rows.groupby(["variant", "seed"]):
        assert sorted(group["config_id"]) == sorted(judged)
    assert sorted(set(zip(rows["variant"], rows["seed"], strict=True))) == [
        (s, n) for s in ("aware", "blind") for n in (1, 2)
    ]
    assert (rows[folds.ERRORS] > 0).all(axis=None)
    # What is judged is not learnt from, and neither is the test configuration.
    for (names, states), row in zip(trained, rows.itertuples(), strict=True):
        assert states == row.variant and row.config_id not in names and HELD_OUT not in names
    # The printed mean by plain pandas, and nothing is trained twice.
    mean = rows[rows["variant"] == "aware"].groupby("seed")["force_mae_eV_A"].mean().mean()
    assert f"{mean:.3f}" in capsys.readouterr().out
    left_out.main()
    assert len(trained) == len(rows) and pd.read_csv(table).equals(rows)


def test_a_variant_changes_the_keys_that_its_file_names(config, monkeypatch):
    file = config.parent / "variants.yaml"
    file.write_text(yaml.safe_dump({"short": {"max_steps": 3, "states": "aware"}, "usual": None}))
    given, train = [], folds.train_member

    def spy(dataset, member, settings, *arguments, **keywords):
        given.append((settings.max_steps, settings.states))
        return train(dataset, member, settings, *arguments, **keywords)

    monkeypatch.setattr(folds, "train_member", spy)
    table = config.parent / "rows.csv"
    arguments = ["left_out", str(config), "--output", str(table), "--seeds", "1", "--variants", str(file)]
    monkeypatch.setattr(sys, "argv", arguments)
    left_out.main()
    assert given == [(3, "aware")] * 3 + [(6, "blind")] * 3
    assert pd.read_csv(table)["variant"].tolist() == ["short"] * 3 + ["usual"] * 3
    monkeypatch.setattr(sys, "argv", [*arguments, "--only", "absent"])
    with pytest.raises(KeyError):
        left_out.main()


def test_errors_by_hand(config):
    """Errors of a network against the labels in the file, frame by frame."""
    settings = load_config(config)
    dataset = folds.assemble(settings, 1)
    train = settings.train.model_copy(update={"states": "aware"})
    training, judged = without_fold(dataset.frames, dataset.configurations, train, 3, 0, 1)
    network = Ensemble([folds.trained(training.frames, train, 1, "fold")])
    row = folds.errors_by_configuration(network.predict, judged).iloc[0]
    errors, on_V = [], []
    for frame in read_frames(config.parent / "data" / "frames.extxyz"):
        if frame.info["config_id"] == row["config_id"]:
            V = frame.symbols == "V"
            frame.set_array("oxidation", np.where(V, np.where(frame.get_magnetic_moments() > 1.5, 3, 4), 0))
            difference = np.abs(network.predict(frame).forces_eV_A - frame.get_forces())
            errors.append(difference.mean())
            on_V.append(difference[V].mean())
    assert len(errors) == 3
    assert row["force_mae_eV_A"] == pytest.approx(np.mean(errors), rel=1e-6)
    assert row["redox_force_mae_eV_A"] == pytest.approx(np.mean(on_V), rel=1e-6)


def trainings(monkeypatch, module, config, *arguments):
    """Runs a comparison; the training frames (configuration, step) of each of its trainings, and its table."""
    kept, train = [], folds.train_member

    def spy(dataset, *given, **keywords):
        kept.append([(f.info["config_id"], f.info["step"]) for f in dataset.frames if f.info["set"] == "train"])
        return train(dataset, *given, **keywords)

    monkeypatch.setattr(folds, "train_member", spy)
    table = config.parent / "rows.csv"
    monkeypatch.setattr(sys, "argv", ["benchmark", str(config), "--output", str(table), "--seeds", "1", *arguments])
    module.main()
    return kept, pd.read_csv(table)


def test_budgets_are_nested_and_leave_out_what_is_judged(config, monkeypatch, capsys):
    kept, rows = trainings(monkeypatch, budget, config, "--frames", "1", "2", "--folds", "3", "--states", "aware")
    assert [len(frames) for frames in kept] == [1, 2, 5] * 3
    for one, two, whole in zip(kept[::3], kept[1::3], kept[2::3], strict=True):
        assert set(one) < set(two) < set(whole)
    for frames, row in zip(kept, rows.itertuples(), strict=True):
        assert len(frames) == row.frames and not {row.config_id, HELD_OUT} & {name for name, _ in frames}
    assert (config.parent / "rows.svg").read_text().startswith("<?xml")
    assert "aware: the lowest error of aware is reached with" in capsys.readouterr().out


def test_the_error_of_an_ensemble_is_that_of_its_mean_forces(config, monkeypatch):
    """Against the mean of the forces of the trained networks, each asked alone by numpy."""
    networks, judge = [], budget.errors_by_configuration

    def keep(predict, frames):
        ensemble = predict.__self__
        forces = np.mean([[Ensemble([n]).predict(f).forces_eV_A for f in frames] for n in ensemble.members], axis=0)
        truth = np.array([frame.calc.results["forces"] for frame in frames])
        networks.append((len(ensemble.members), np.abs(forces - truth).mean()))
        return judge(predict, frames)

    monkeypatch.setattr(budget, "errors_by_configuration", keep)
    arguments = ("--frames", "2", "--folds", "3", "--states", "aware", "--members", "2")
    _, rows = trainings(monkeypatch, budget, config, *arguments)
    assert set(rows["kind"]) == {"aware × 2"} and [count for count, _ in networks] == [2] * 6
    assert rows["force_mae_eV_A"].to_numpy() == pytest.approx([error for _, error in networks], abs=2e-5)


def test_the_peer_gets_the_frames_of_the_row_and_is_judged_like_the_others(config, monkeypatch):
    """A worker that returns the labels of its files, with 0.1 eV/Å and 0.4 eV added."""
    worker = config.parent / "worker.py"
    worker.write_text(
        "import sys, json, pathlib, numpy as np\nfrom ase.io import read\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "judged, train = read(folder / 'judged.extxyz', ':'), read(folder / 'train.extxyz', ':')\n"
        "given = json.loads((folder / 'settings.json').read_text())\n"
        "assert given['cpu_s'] > 0 and len(read(folder / 'validation.extxyz', ':'))\n"
        f"with open('{config.parent}/counts', 'a') as log: print(len(train), file=log)\n"
        "energies = {f'energy{i}': frame.get_potential_energy() + 0.4 for i, frame in enumerate(judged)}\n"
        "forces = {f'forces{i}': frame.get_forces() + 0.1 for i, frame in enumerate(judged)}\n"
        "np.savez(folder / 'predictions.npz', **energies, **forces)\n"
    )
    monkeypatch.setattr(peer, "WORKER", worker)
    arguments = ("--frames", "2", "--folds", "3", "--states", "blind", "aware", "--peer", sys.executable)
    _, rows = trainings(monkeypatch, budget, config, *arguments)
    found = rows[rows["kind"] == "schnetpack"]
    blind = rows[rows["kind"] == "blind"]
    assert found["force_mae_eV_A"].to_numpy() == pytest.approx(0.1) and len(found) == len(blind) == 6
    sizes = {frame.info["config_id"]: len(frame) for frame in read_frames(config.parent / "data/frames.extxyz")}
    assert found["energy_mae_meV_atom"].to_numpy() == pytest.approx(400 / found["config_id"].map(sizes).to_numpy())
    assert list(map(int, (config.parent / "counts").read_text().split())) == blind["frames"].tolist() == [2, 5] * 3


def test_the_frames_at_which_a_curve_reaches_an_error():
    curve = pd.Series([0.4, 0.3, 0.2], index=[10, 20, 80])
    assert budget.frames_for(curve, 0.3) == pytest.approx(20)
    assert budget.frames_for(curve, 0.25) == pytest.approx(40)
    assert budget.frames_for(curve, 0.5) == 10 and np.isnan(budget.frames_for(curve, 0.1))


def test_a_pretrained_member_is_a_start_of_its_own_kind(config, monkeypatch):
    settings = load_config(config)
    dataset = folds.assemble(settings, 1)
    training, _ = without_fold(dataset.frames, dataset.configurations, settings.train, 3, 0, 1)
    result = train_member(
        training, settings.train.members[0], settings.train, 0, 9, None, Checkpoint(config.parent / "state", ["a"])
    )
    save_member(config.parent / "member0.pt", result, {})
    given = f"blind={config.parent}"
    arguments = (
        "--frames",
        "2",
        "--folds",
        "3",
        "--states",
        "blind",
        "--pretrained",
        given,
        "--scratch",
        "max_steps=3",
    )
    steps, train = [], folds.train_member
    with monkeypatch.context() as patched:

        def count(dataset, member, chosen, *arguments, **keywords):
            steps.append(chosen.max_steps)
            return train(dataset, member, chosen, *arguments, **keywords)

        patched.setattr(folds, "train_member", count)
        kept, rows = trainings(patched, budget, config, *arguments)
    assert set(rows["kind"]) == {"blind", "blind pretrained"} and len(kept) == len(rows) == 12
    assert steps == [3, 3, 6, 6] * 3
    # The same member as a variant of left_out, with frames of its teacher: both reach the training.
    teacher = config.parent / "teacher"
    teacher.mkdir()
    (labelled,) = [f for f in read_frames(config.parent / "data/frames.extxyz") if f.info["config_id"] == RUNS[0]][:1]
    write_frames(teacher / "a.extxyz", [labelled])
    file = config.parent / "variants.yaml"
    variants = {"scratch": {}, "start": {"pretrained": str(config.parent / "member0.pt")}}
    variants["replay"] = variants["start"] | {"teacher": str(teacher), "replay": 0.5}
    file.write_text(yaml.safe_dump(variants))
    starts, train = [], folds.train_member

    def spy(dataset, member, chosen, generation, seed, previous, checkpoint, name, start, replay):
        starts.append((None if start is None else start.state_dict()["scale_eV"].item(), len(replay), chosen.replay))
        return train(dataset, member, chosen, generation, seed, previous, checkpoint, name, start, replay)

    monkeypatch.setattr(folds, "train_member", spy)
    given = ["--output", str(config.parent / "left_out.csv"), "--seeds", "1", "--variants", str(file)]
    monkeypatch.setattr(sys, "argv", ["left_out", str(config), *given])
    left_out.main()
    scale = result.member.state_dict()["scale_eV"].item()
    # In the order of the names in the file.
    assert starts == [(scale, 1, 0.5)] * 3 + [(None, 0, 0.0)] * 3 + [(scale, 0, 0.0)] * 3
    # And in the comparison of ways to choose: both members of the start, and each judged network.
    starts.clear()
    save_member(config.parent / "member1.pt", result, {})
    given = ["--output", str(config.parent / "choice.csv"), "--seeds", "1", "--folds", "3", "--by", "random", "spread"]
    given += ["--start", "1", "--labels", "2", "--pretrained", str(config.parent)]
    monkeypatch.setattr(sys, "argv", ["choice", str(config), *given])
    choice.main()
    assert starts == [(scale, 0, 0.0)] * 12


def test_chosen_labels_are_of_the_pool_and_each_way_chooses_as_it_says(config, monkeypatch):
    kept, rows = trainings(monkeypatch, choice, config, "--start", "1", "--labels", "2", "--folds", "3")
    assert rows["by"].tolist() == [*choice.WAYS] * 3
    for number in range(3):
        begun, *ways = kept[6 * number + 1 : 6 * number + 6]
        judged = set(rows["config_id"][4 * number : 4 * number + 4])
        assert len(begun) == 1 and kept[6 * number] == begun
        for frames in ways:
            assert len(frames) == len(set(frames)) == 3 and begun[0] in frames
            assert not (judged | {HELD_OUT}) & {name for name, _ in frames}
    frames = [rock(seed) for seed in range(4)]
    for frame, spread in zip(frames, (0.1, 0.4, 0.2, 0.3), strict=True):
        frame.info = {"spread_eV_A": spread}
    assert choice.choose("spread", frames, [], Ensemble(members(2)), 2, 1) == [frames[1], frames[3]]


def test_a_table_on_disk_is_continued(tmp_path):
    rows = pd.DataFrame([["c", 0.1, 0.2, 3.0]], columns=["config_id", *folds.ERRORS])
    folds.RowsOnDisk(tmp_path / "a.csv", ["by", "seed"]).add(rows, "way", 1)
    again = folds.RowsOnDisk(tmp_path / "a.csv", ["by", "seed"])
    assert again.has("way", 1) and not again.has("way", 2) and not again.has("other", 1)
    for seed, error in ((2, 0.3), (3, 0.2)):
        again.add(rows.assign(force_mae_eV_A=error), "way", seed)
    found = again.by_seed("by")["force_mae_eV_A"].loc["way"]
    assert (found["mean"], found["std"]) == pytest.approx((0.2, 0.1))


def test_electrons_started_again_are_compared_with_the_labels_of_the_file(config, monkeypatch):
    """The toy has one solution in each state; energy and forces of a frame of the file are changed by known numbers."""
    file = config.parent / "data/frames.extxyz"
    frames = read_frames(file)
    (shifted,) = [f for f in frames if (f.info["config_id"], f.info["step"]) == ("x2.500_random0", 1)]
    forces = shifted.get_forces()
    forces[shifted.numbers == 23] += 0.3
    shifted.calc = SinglePointCalculator(
        shifted,
        energy=shifted.get_potential_energy() + 0.25,
        forces=forces,
        magmoms=shifted.get_magnetic_moments(),
    )
    file.unlink()
    write_frames(file, frames)
    card = yaml.safe_load((file.parent / "dataset.yaml").read_text())
    card["files"] = {file.name: file_sha256(file)}
    (file.parent / "dataset.yaml").write_text(yaml.safe_dump(card))
    table = config.parent / "rows.csv"
    arguments = ["--configurations", "x2.500_random0", "--step", "0", "--output", str(table)]
    monkeypatch.setattr(sys, "argv", ["second_start", str(config), *arguments])
    second_start.main()
    first, second = pd.read_csv(table).to_dict("records")
    assert first["energy_difference_meV"] == pytest.approx(0, abs=0.1) and first["force_mae_eV_A"] < 1e-3
    assert first["same_states"] and second["same_states"]
    assert second["energy_difference_meV"] == pytest.approx(-250, abs=0.1)
    assert second["redox_force_mae_eV_A"] == pytest.approx(0.3, abs=1e-3)
    monkeypatch.setattr(sys, "argv", ["second_start", str(config), *arguments[:-1], str(table) + "2", "--step", "7"])
    with pytest.raises(DataError, match=r"no frame x2\.500_random0 step 7"):
        second_start.main()
    share = (shifted.numbers == 23).mean()
    assert second["force_mae_eV_A"] == pytest.approx(0.3 * share, abs=1e-3)


def test_electrons_start_in_the_order_of_the_bonds(config, monkeypatch):
    """V4+ is asked for on the V with the shortest V–O bonds, by the sum of exp(−d/0.37 Å) with ASE's distances."""
    (frame,) = [
        f
        for f in read_frames(config.parent / "data/frames.extxyz")
        if (f.info["config_id"], f.info["step"]) == ("x2.500_random0", 0)
    ]
    asked = []
    real = second_start.get_engine

    def watched(*arguments):
        engine = real(*arguments)
        calculate = engine.calculate
        engine.calculate = lambda atoms: asked.append(atoms.copy()) or calculate(atoms)
        return engine

    monkeypatch.setattr(second_start, "get_engine", watched)
    table = config.parent / "rows.csv"
    arguments = ["--configurations", "x2.500_random0", "--step", "0", "--output", str(table), "--order", "bonds"]
    monkeypatch.setattr(sys, "argv", ["second_start", str(config), *arguments])
    second_start.main()
    metals, oxygens = np.flatnonzero(frame.numbers == 23), np.flatnonzero(frame.numbers == 8)
    sums = [np.exp(-frame.get_distances(metal, oxygens, mic=True) / 0.37).sum() for metal in metals]
    moments = asked[0].get_initial_magnetic_moments()[metals]
    (v4,) = np.flatnonzero(np.isclose(moments, LEVELS.moments_muB["V"][4]))
    assert v4 == np.argmax(sums)
    assert set(pd.read_csv(table)["states_of_start"]) <= {True, False}


class Tightened:
    """The toy engine with a calculator that converges: its SCF goes on to 3 meV less and 0.02 eV/Å more along z."""

    def __init__(self, engine):
        self.engine, self.calculator, self.can_start_without_hubbard = engine, self, False
        self.criteria = None

    def forget(self, without_hubbard=None):
        self.engine.forget()

    def calculate(self, atoms):
        self.atoms, self.result = atoms, self.engine.calculate(atoms)
        return self.result

    def set(self, convergence, maxiter, _set_ok=False):
        if not _set_ok:
            # GPAW's own words.
            raise ValueError("Please use new(...) instead of set(...)")
        self.criteria = convergence

    def get_potential_energy(self, atoms):
        assert self.criteria["density"] == 2e-5
        return self.result.energy_eV - 0.003

    def get_forces(self, atoms):
        return self.result.forces_eV_A + np.array([0, 0, 0.02])

    def get_number_of_iterations(self):
        return 7


def test_a_tighter_scf_goes_on_from_the_second_frame(config, monkeypatch):
    real = second_start.get_engine
    monkeypatch.setattr(second_start, "get_engine", lambda *arguments: Tightened(real(*arguments)))
    monkeypatch.setattr(convergence, "GpawEngine", Tightened)
    table = config.parent / "rows.csv"
    arguments = ["--configurations", "x2.500_random0", "--step", "0", "--output", str(table)]
    monkeypatch.setattr(sys, "argv", ["convergence", str(config), *arguments])
    convergence.main()
    (row,) = pd.read_csv(table).to_dict("records")
    assert row["step"] == 1 and row["further_scf_steps"] == 7
    assert row["energy_difference_meV"] == pytest.approx(-3)
    assert row["force_mae_eV_A"] == pytest.approx(0.02 / 3, abs=1e-5)
    assert row["largest_force_difference_eV_A"] == pytest.approx(0.02)
