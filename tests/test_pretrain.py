"""Pretraining through the files that the workflow passes: labels against the calculator, starts and batches by hand."""

import json
import shutil
from collections import Counter
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from redoxmd.config import parse_config
from redoxmd.config.declared import settings_for
from redoxmd.config.sections import Electrons, Member, OxidationState, Pretrain, Structures, Train
from redoxmd.engines import settings_hash
from redoxmd.engines.toy import ionic_energy, moments
from redoxmd.errors import ConfigError, DataError
from redoxmd.files.frames import labelled, read_frames, write_frames
from redoxmd.files.records import file_sha256
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.model.ensemble import Ensemble
from redoxmd.pretrain import common_teacher, teacher_dataset, teacher_frames, teacher_hash
from redoxmd.runs.model_check import inspect_potentials
from redoxmd.runs.plan import make_plan
from redoxmd.runs.provenance import make_manifest
from redoxmd.runs.rules import Rules
from redoxmd.runs.run_tables import summarise_run
from redoxmd.runs.status import describe_status, headline_lines
from redoxmd.structures.build import build_structure
from redoxmd.structures.request import parse_name
from redoxmd.train.dataset import Dataset, build_dataset, load_datasets
from redoxmd.train.records import EnsembleRecord
from redoxmd.train.trainer import Trainer, load_member, train_member
from tests.scripts import ROOT
from tests.scripts import execute as execute_cold
from tests.teacher import ToyTeacher

execute = partial(execute_cold, warm=True)

TEACHER = "tests.teacher.ToyTeacher"
CONSTANTS_EV = {"Na": -3.1, "V": 7.5, "P": -11.0, "O": -6.25}
SHORT = {"steps": 20, "timestep_fs": 2.0, "temperatures_K": (900, 600), "frame_every": 10, "rattled": 4}
SIZE = {"features": 12, "layers": 1}
TRAIN = Train(
    radial_functions=8,
    batch_size=2,
    max_steps=40,
    max_steps_active=20,
    validate_every=20,
    learning_rate=5e-3,
    ema_decay=0.9,
    validation_fraction=0.2,
    device="cpu",
)
STARTS = ("x2.000_random0_1x1x1", "x2.500_random1_1x1x1", "x3.000_random0_1x1x1")
LEVELS = Electrons(levels={"V": {3: OxidationState(moment_muB=2.0), 4: OxidationState(moment_muB=1.0)}})


def structure(name):
    return build_structure(parse_name(name), Structures(), 1)


def section(**changes):
    given = {"potential": TEACHER, "max_steps": 60, "learning_rate": 5e-3, **changes}
    return Pretrain(enabled=True, **{**SHORT, **given})


def labels_of(folder, names=STARTS, electrons=None, environment=None, **changes):
    """Files of the rule pretrain_frames."""
    folder.mkdir(exist_ok=True)
    params = {
        "pretrain": settings_for("pretrain_frames", section(**changes)),
        "electrons": settings_for("pretrain_frames", electrons or Electrons()),
        "seed": 1,
    }
    for name in names:
        write_frames(folder / f"{name}.start.extxyz", [structure(name)])
        files = {"frames": str(folder / f"{name}.extxyz")}
        start = {"atoms": str(folder / f"{name}.start.extxyz")}
        execute("pretrain_frames", folder, params, start, files, environment, wildcards={"structure": name})
    return [folder / f"{name}.extxyz" for name in names]


def pretrained(folder, files, train=TRAIN, **changes):
    """File of the rule pretrain."""
    params = {
        "pretrain": settings_for("pretrain", section(**changes)),
        "train": settings_for("pretrain", train),
        "structures": settings_for("pretrain", Structures()),
        "size": SIZE,
        "teacher": TEACHER,
        "seed": 1,
        "state": str(folder / "state"),
    }
    member = folder / "member0.pt"
    execute(
        "pretrain",
        folder,
        params,
        {"frames": [str(file) for file in files]},
        {"member": str(member)},
        wildcards={"member": "0"},
    )
    return member


def reference_frames(names=STARTS, count=4, oxidation=False):
    """Labels of the toy engine at rattled structures."""
    frames, rng = [], np.random.default_rng(3)
    for name in names:
        for step in range(count):
            atoms = structure(name)
            atoms.positions += 0.08 * rng.standard_normal(atoms.positions.shape)
            energy, forces, _ = ionic_energy(atoms)
            frame = labelled(atoms, energy, forces, moments_muB=moments(atoms), config_id=name, step=step)
            frame.info |= {"set": "train" if step + 1 < count else "validation", "converged": True}
            frame.info["settings_hash"] = settings_hash(parse_config({"engine": {"name": "toy"}}).engine)
            frames.append(frame)
            if oxidation:
                frame.set_array("oxidation", np.select([moments(atoms) == 2, moments(atoms) == 1], [3, 4], 0))
    return frames


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Frames of the teacher with constants and a member trained on them."""
    folder = tmp_path_factory.mktemp("made")
    files = labels_of(folder, keywords={"constants_eV": CONSTANTS_EV})
    return SimpleNamespace(folder=folder, files=files, member=pretrained(folder, files))


def test_labels_are_those_of_the_calculator(made):
    """The energies, forces and moments of the toy's functions at the positions in the file; counts by hand."""
    hashes = set()
    for file in made.files:
        frames = read_frames(file)
        name = file.stem
        # Steps 0, 10, …, 40 of 2 × 20 steps, and four rattled copies.
        expected = [(name, step) for step in range(0, 41, 10)] + [(f"{name}_rattled", number) for number in range(4)]
        assert [(frame.info["config_id"], frame.info["step"]) for frame in frames] == expected
        for frame in frames:
            energy, forces, _ = ionic_energy(frame)
            counts = Counter(frame.get_chemical_symbols())
            energy += sum(counts[element] * value for element, value in CONSTANTS_EV.items())
            # Positions and forces have eight decimals in the file.
            assert frame.get_potential_energy() == pytest.approx(energy, abs=1e-5)
            np.testing.assert_allclose(frame.get_forces(), forces, atol=1e-6)
            np.testing.assert_allclose(frame.get_magnetic_moments(), moments(frame), atol=1e-7)
            assert frame.info["engine"] == f"teacher {TEACHER}"
            hashes.add(frame.info["settings_hash"])
        built = structure(name)
        np.testing.assert_allclose(frames[0].positions, built.positions, atol=1e-7)
        displaced_A = np.concatenate([frame.positions - built.positions for frame in frames[5:]])
        # 480 normal deviates: relative standard error 3 %.
        assert displaced_A.std() == pytest.approx(0.1, rel=0.15)
        moved_A = [np.abs(frame.positions - built.positions).mean() for frame in frames[1:5]]
        assert moved_A[0] > 0.005 and len({round(value, 6) for value in moved_A}) == 4
    assert hashes == {teacher_hash(section(keywords={"constants_eV": CONSTANTS_EV}))}
    assert hashes != {teacher_hash(section())}


def test_moments_of_the_teacher_give_states(tmp_path):
    """At x = 2.5 one V of four is 4+: that with the moment of 1, by hand."""
    (file,) = labels_of(tmp_path, STARTS[1:2], LEVELS)
    for frame in read_frames(file):
        vanadium = frame.numbers == 23
        moments_muB, states = frame.get_magnetic_moments()[vanadium], frame.arrays["oxidation"][vanadium]
        assert sorted(states) == [3, 3, 3, 4]
        assert states.argmax() == moments_muB.argmin()
        assert not frame.arrays["oxidation"][~vanadium].any()


def test_a_data_set_of_the_reference_refuses_them(made, tmp_path):
    """Among reference frames, and in a dataset folder whose card claims the reference settings."""
    reference = reference_frames()
    own = reference[0].info["settings_hash"]
    assert len(build_dataset(reference, TRAIN, 1, own).frames) == len(reference)
    teacher = read_frames(made.files[0])
    with pytest.raises(DataError, match=r"labelled with settings [0-9a-f]{16} but this run uses .* do not mix"):
        build_dataset([*reference, teacher[0]], TRAIN, 1, own)
    write_frames(tmp_path / "frames.extxyz", teacher)
    files = {"frames.extxyz": file_sha256(tmp_path / "frames.extxyz")}
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump({"engine": "toy", "settings_hash": own, "files": files}))
    with pytest.raises(DataError, match="do not mix"):
        build_dataset(load_datasets([tmp_path], own), TRAIN, 1, own)
    # The same calculator as the engine of reference labels has another hash.
    engine = parse_config({"engine": {"name": "ase", "ase": {"calculator": TEACHER}}}).engine
    assert settings_hash(engine) not in {frame.info["settings_hash"] for frame in teacher} | {teacher_hash(section())}


def start(member, frames, **changes):
    network, _ = load_member(member)
    return Trainer(Dataset(frames), Member(**SIZE), TRAIN, 0, 5, None, "start", pretrained=network, **changes)


def test_constants_of_the_elements_have_no_effect(made, tmp_path):
    """The teacher with and without them, through the files of both rules: the start of generation 0 is the same."""
    without = pretrained(tmp_path, labels_of(tmp_path))
    frames = reference_frames()
    energies = [load_member(member)[0].reference_eV for member in (made.member, without)]
    assert float((energies[0] - energies[1]).abs().max()) > 1.0
    first, second = (Ensemble([start(member, frames).averaged]) for member in (made.member, without))
    assert first.members[0].reference_eV == pytest.approx(second.members[0].reference_eV, abs=1e-3)
    for frame in frames:
        one, other = first.predict(frame), second.predict(frame)
        # Energies of the constants, of hundreds of eV, are rounded to single precision at 1e-5 eV in the targets.
        assert one.energy_eV == pytest.approx(other.energy_eV, abs=1e-3)
        np.testing.assert_allclose(one.forces_eV_A, other.forces_eV_A, atol=1e-3)


def test_reference_energies_are_the_least_squares_fit_of_the_residual(made):
    """Normal equations by hand: residuals of the training frames are orthogonal to the count of every element."""
    frames = reference_frames()
    ensemble = Ensemble([start(made.member, frames).averaged])
    training = [frame for frame in frames if frame.info["set"] == "train"]
    residual = np.array([frame.get_potential_energy() - ensemble.predict(frame).energy_eV for frame in training])
    assert np.abs(residual).max() > 1e-2
    for element in CONSTANTS_EV:
        counts = np.array([frame.get_chemical_symbols().count(element) for frame in training])
        assert abs(residual @ counts) < 1e-4 * np.abs(residual).max() * counts.sum()


def train_params(train, folder, size=SIZE):
    return {"train": settings_for("train", train), "size": size, "seed": 1, "state": str(folder / "state")}


def test_a_pretrained_start_lowers_the_first_validation_error(made, tmp_path):
    """On data of the same potential without constants, through the script of generation 0; the record names it."""
    write_frames(tmp_path / "dataset.extxyz", reference_frames())
    losses = {}
    for name, given in (("cold", []), ("warm", str(made.member))):
        inputs = {"dataset": str(tmp_path / "dataset.extxyz"), "previous": [], "pretrained": given, "replay": []}
        output = tmp_path / f"{name}.pt"
        params = train_params(TRAIN.model_copy(update={"learning_rate": 1e-4, "max_steps": 20}), tmp_path)
        wildcards = {"gen": "0", "member": "0"}
        execute("train", tmp_path, params, inputs, {"member": str(output)}, wildcards=wildcards)
        _, record = load_member(output)
        losses[name] = record["history"][0]["validation_loss"]
        assert record["about"].get("teacher") == (TEACHER if given else None)
    assert losses["warm"] < 0.5 * losses["cold"]
    about = load_member(made.member)[1]["about"]
    assert about["teacher"] == TEACHER
    assert about["settings_hash"] == read_frames(made.files[0])[0].info["settings_hash"]
    # The next generation starts from this one and names it too.
    inputs = {"dataset": inputs["dataset"], "previous": str(output), "pretrained": [], "replay": []}
    execute(
        "train", tmp_path, params, inputs, {"member": str(tmp_path / "next.pt")}, wildcards={**wildcards, "gen": "1"}
    )
    assert load_member(tmp_path / "next.pt")[1]["about"]["teacher"] == TEACHER


def test_folds_start_from_the_pretrained_member(made, tmp_path):
    frames = reference_frames(count=2)
    for frame in frames:
        frame.info["set"] = "train"
    write_frames(tmp_path / "dataset.extxyz", frames)
    items = [{"config_id": name, "group": name, "frames": 2, "set": "train"} for name in STARTS]
    (tmp_path / "dataset.json").write_text(json.dumps({"configurations": items}))
    train = TRAIN.model_copy(update={"members": (Member(**SIZE),) * 2, "folds": 3, "max_steps": 1, "replay": 0.5})
    errors = []
    for given, replay in (([], []), (str(made.member), [str(file) for file in made.files])):
        inputs = {"dataset": str(tmp_path / "dataset.extxyz"), "record": str(tmp_path / "dataset.json")}
        params = {"train": settings_for("fold", train), "seed": 1, "state": str(tmp_path / "state")}
        output = {"errors": str(tmp_path / "errors.csv")}
        inputs |= {"pretrained": given, "replay": replay}
        execute("fold", tmp_path, params, inputs, output, wildcards={"fold": "0"})
        errors.append(np.genfromtxt(tmp_path / "errors.csv", delimiter=",", names=True)["force_mae_eV_A"].mean())
    assert errors[1] < 0.8 * errors[0]


def test_batches_have_the_share_of_the_teacher(made):
    """By hand: two of four frames are of the teacher; in an epoch of either kind each frame is once."""
    frames, replay = reference_frames(count=3), read_frames(made.files[0])[:4]
    for frame in frames:
        frame.info["set"] = "train"
    network, _ = load_member(made.member)
    settings = TRAIN.model_copy(update={"batch_size": 4, "replay": 0.5})
    trainer = Trainer(Dataset(frames[:6]), Member(**SIZE), settings, 0, 5, None, "b", network, replay)
    drawn = []
    for step in range(6):
        trainer.step = step
        drawn.append(
            [(id(sample) in {id(item) for item in trainer.replay}, id(sample)) for sample in trainer.next_batch()]
        )
        assert sum(of_teacher for of_teacher, _ in drawn[-1]) == 2 and len(drawn[-1]) == 4
    counts = Counter(sample for batch in drawn for sample in batch)
    # Six steps: two epochs of six frames in three steps, three epochs of four frames of the teacher in two.
    assert sorted(counts.values()) == [2] * 6 + [3] * 4
    assert {of_teacher for of_teacher, _ in counts} == {True, False}
    for batches, size in ((drawn[:3], 6), (drawn[3:], 6)):
        assert len({key for batch in batches for of_teacher, key in batch if not of_teacher}) == size
    plain = Trainer(Dataset(frames[:6]), Member(**SIZE), TRAIN, 0, 5, None, "b", network)
    assert len(plain.next_batch()) == 2


def test_energies_of_both_levels_are_on_one_scale(made):
    """Targets of the teacher's frames have no constants: the mean residual at the start is zero, as the reference's."""
    replay = [frame for file in made.files for frame in read_frames(file)]
    settings = TRAIN.model_copy(update={"batch_size": 4, "replay": 0.5})
    network, _ = load_member(made.member)
    trainer = Trainer(Dataset(reference_frames()), Member(**SIZE), settings, 0, 5, None, "b", network, replay)
    for samples in (trainer.training, trainer.replay):
        with torch.no_grad():
            interaction_eV = [
                float(trainer.model.interaction_energy(s.graph.to("cpu", torch.float32))) for s in samples
            ]
        residual_eV = np.array([float(sample.energy) for sample in samples]) - interaction_eV
        assert abs(residual_eV.mean()) < 1e-3
        # In Na4V4P6O24 the constants sum to −4 × 3.1 + 4 × 7.5 − 6 × 11 − 24 × 6.25 = −198.4 eV.
        assert np.abs(residual_eV).max() < 20


def test_an_interrupted_training_with_replay_equals_an_uninterrupted_one(made, tmp_path):
    frames, replay = reference_frames(), read_frames(made.files[1])
    settings = TRAIN.model_copy(update={"batch_size": 4, "replay": 0.25})
    network, _ = load_member(made.member)

    def weights(folder):
        arguments = Dataset(frames), Member(**SIZE), settings, 0, 5, None
        result = train_member(*arguments, Checkpoint(folder, "c"), "m", network, replay)
        return torch.cat([p.flatten() for p in result.member.parameters()])

    whole = weights(tmp_path / "whole")
    half = Trainer(Dataset(frames), Member(**SIZE), settings, 0, 5, None, "m", network, replay)
    half.run_interval()
    torch.save(half.state(), Checkpoint(tmp_path / "half", "c").path("training.pt"))
    assert torch.equal(whole, weights(tmp_path / "half"))


def test_states_of_the_teacher_that_the_first_reference_frames_lack_stay_known(tmp_path):
    """Aware: V4+ is in the teacher's frames only. The start has it, and the next generation, which adds none, too."""
    aware = TRAIN.model_copy(update={"states": "aware"})
    member = pretrained(tmp_path, labels_of(tmp_path, electrons=LEVELS), aware)
    network, _ = load_member(member)
    dataset = Dataset(reference_frames(STARTS[2:], oxidation=True))
    arguments = Member(**SIZE), aware, 0, 5
    first = Trainer(dataset, *arguments, None, "first", network)
    assert (23, 4) in zip(first.model.elements, first.model.states, strict=True)
    second = Trainer(dataset, Member(**SIZE), aware, 1, 5, first.averaged, "second")
    assert second.model.states == first.model.states
    assert all(torch.equal(a, b) for a, b in zip(first.averaged.parameters(), second.model.parameters(), strict=True))
    (with_v4,) = reference_frames(STARTS[1:2], 1, oxidation=True)
    assert np.isfinite(Ensemble([first.averaged]).predict(with_v4).energy_eV)


def test_states_that_the_teacher_lacks_are_named(tmp_path):
    aware = TRAIN.model_copy(update={"states": "aware"})
    network, _ = load_member(pretrained(tmp_path, labels_of(tmp_path, STARTS[2:], LEVELS), aware))
    frames = reference_frames(oxidation=True)
    with pytest.raises(DataError, match=r"lacks V with oxidation 4; add structures .* pretrain\.starts"):
        Trainer(Dataset(frames), Member(**SIZE), aware, 0, 5, None, "first", network)


def test_restart_files_that_lack_frames_are_named(tmp_path):
    """Labels are not dropped: the job stops and names the folder, whose removal starts it from the beginning."""
    potential = {"potential": "tests.teacher.StoppingTeacher"}
    (whole,) = labels_of(tmp_path / "whole", STARTS[1:2], LEVELS, **potential)
    with pytest.raises(AssertionError, match="asked to stop"):
        labels_of(tmp_path / "part", STARTS[1:2], LEVELS, {"STOP_AFTER": "25"}, **potential)
    (frames,) = tmp_path.glob("state/pretrain_frames/*/frames.extxyz")
    content = frames.read_text()
    first = content.splitlines(keepends=True)[: len(read_frames(frames)[0]) + 2]
    for damaged in (None, "".join(first), content[: len(content) // 2]):
        frames.unlink() if damaged is None else frames.write_text(damaged)
        with pytest.raises(AssertionError, match=r"readable frames where the state knows 3.*remove the folder"):
            labels_of(tmp_path / "part", STARTS[1:2], LEVELS, **potential)
    shutil.rmtree(frames.parent)
    (part,) = labels_of(tmp_path / "part", STARTS[1:2], LEVELS, **potential)
    assert part.read_bytes() == whole.read_bytes()


def test_errors_before_the_first_step_are_those_of_the_teachers_forces(tmp_path, made):
    """By the rule's script: weights of the files, constants of the elements by numpy from the training frames."""
    frames = reference_frames()
    frames[3].info["set"] = frames[7].info["set"] = "test"
    write_frames(tmp_path / "dataset.extxyz", frames)
    inputs = {"members": [str(made.member)], "dataset": str(tmp_path / "dataset.extxyz")}
    execute("pretrain_errors", tmp_path, {"seed": 1}, inputs, {"errors": str(tmp_path / "errors.csv")})
    rows = pd.read_csv(tmp_path / "errors.csv").query("member == -1").set_index("set")
    network, _ = load_member(made.member)
    network.reference_eV.zero_()
    ensemble, frames = Ensemble([network]), read_frames(tmp_path / "dataset.extxyz")
    counts = np.array([[list(frame.symbols).count(element) for element in CONSTANTS_EV] for frame in frames])
    predicted_eV = np.array([ensemble.predict(frame).energy_eV for frame in frames])
    labels_eV = np.array([frame.get_potential_energy() for frame in frames])
    sets = np.array([frame.info["set"] for frame in frames])
    constants = np.linalg.lstsq(counts[sets == "train"], (labels_eV - predicted_eV)[sets == "train"], rcond=None)[0]
    energy_meV = 1000 * np.abs(predicted_eV + counts @ constants - labels_eV) / counts.sum(axis=1)
    force_eV_A = [np.abs(ensemble.predict(frame).forces_eV_A - frame.get_forces()).mean() for frame in frames]
    for name in ("train", "test", "validation"):
        assert rows.loc[name, "energy_mae_meV_atom"] == pytest.approx(energy_meV[sets == name].mean(), abs=0.02)
        # All configurations have nearly the same number of atoms.
        assert rows.loc[name, "force_mae_eV_A"] == pytest.approx(np.mean(np.array(force_eV_A)[sets == name]), rel=0.03)


def test_a_teacher_without_moments_cannot_teach_states(tmp_path):
    rng, atoms = np.random.default_rng(1), structure(STARTS[1])
    teacher = ToyTeacher(with_moments=False)
    frames = teacher_frames(atoms, teacher, section(), LEVELS, rng, "h", Checkpoint(tmp_path, "f"))
    with pytest.raises(DataError, match=r"teacher tests\.teacher\.ToyTeacher gives no states.* train\.states: blind"):
        teacher_dataset(frames, Structures(), TRAIN.model_copy(update={"states": "aware"}), 1)


def test_a_teacher_that_fails_is_named(tmp_path):
    class Broken(ToyTeacher):
        def calculate(self, *arguments, **keywords):
            super().calculate(*arguments, **keywords)
            self.results["forces"] = self.results["forces"] * -20

    with pytest.raises(
        DataError, match=r"ToyTeacher fails at step \d+ .*lower pretrain\.temperatures_K or timestep_fs"
    ):
        rng, checkpoint = np.random.default_rng(1), Checkpoint(tmp_path, "f")
        teacher_frames(structure(STARTS[0]), Broken(), section(steps=300), Electrons(), rng, "h", checkpoint)


@pytest.mark.parametrize("steps", [(7,), (21,), (5, 20, 13)])
def test_stopped_at_any_step_its_file_is_the_same_and_no_label_is_made_twice(tmp_path, steps):
    """By the rule's script: stopped in a temperature, at its end, and several times."""
    potential = {"potential": "tests.teacher.StoppingTeacher"}
    (whole,) = labels_of(tmp_path / "whole", STARTS[1:2], LEVELS, **potential)
    for count in steps:
        with pytest.raises(AssertionError, match=r"asked to stop.*the state is written"):
            labels_of(tmp_path / "part", STARTS[1:2], LEVELS, {"STOP_AFTER": str(count)}, **potential)
        assert not (tmp_path / "part" / whole.name).exists()
    (part,) = labels_of(tmp_path / "part", STARTS[1:2], LEVELS, **potential)
    assert f"resuming from {sum(steps) - 1} of 40 steps" in (tmp_path / "part/log").read_text()
    assert part.read_bytes() == whole.read_bytes()
    # The restart files go with the job's end, also those of a job with other settings.
    assert not list(tmp_path.glob("state/pretrain_frames/*"))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"train": {"replay": 0.25}}, r"train\.replay: .* pretrain\.enabled: true"),
        ({"pretrain": {"enabled": True}, "train": {"replay": 0.1}}, r"0\.1 of batch_size 4 is 0 frames"),
        ({"pretrain": {"enabled": True}, "train": {"replay": 0.9}}, r"0\.9 of batch_size 4 is 4 frames"),
    ],
)
def test_impossible_replay_is_refused(raw, words):
    with pytest.raises(ConfigError, match=words):
        parse_config(raw)


def test_files_by_generation():
    raw = {"pretrain": {"enabled": True, "starts": [{"x": 2.0}]}, "run": "r"}
    rules = Rules(parse_config(raw), ROOT)
    jobs = [SimpleNamespace(run="r", gen=gen, member="1") for gen in ("0", "1")]
    assert [rules.pretrained_member(job) for job in jobs] == ["results/r/pretrain/member1.pt", []]
    assert rules.pretrained_member(SimpleNamespace(run="r", fold="3")) == "results/r/pretrain/member0.pt"
    cold = Rules(parse_config(raw | {"train": {"warm_start": False}}), ROOT)
    assert cold.pretrained_member(jobs[1]) == "results/r/pretrain/member1.pt"
    assert rules.replay_files() == []
    replay = Rules(parse_config(raw | {"train": {"replay": 0.25}}), ROOT)
    assert replay.replay_files() == ["results/r/pretrain/x2.000_random0_1x1x1.extxyz"]
    off = Rules(parse_config({"run": "r"}), ROOT)
    assert (off.teacher_files(), off.pretrained_member(jobs[0]), off.teacher()) == ([], [], {})


def test_members_of_an_earlier_run_are_checked_before_anything_runs(made, tmp_path):
    """The file of the rule pretrain as the only member, and configs that differ from its record in one thing each."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    for number in range(2):
        shutil.copy(made.member, folder / f"member{number}.pt")

    def problems(train=None, **pretrain):
        train = {"members": [SIZE, SIZE], "radial_functions": 8, **(train or {})}
        teacher = {"enabled": True, "members": str(folder), "potential": TEACHER, **pretrain}
        return make_plan(parse_config({"engine": {"name": "toy"}, "train": train, "pretrain": teacher}), tmp_path)

    plan = problems()
    assert plan.problems == [] and not any(job.startswith("pretrain") for job in plan.jobs)
    assert any(f"members trained on {TEACHER}, of {folder}" in note for note in plan.notes)
    for changed, words in (
        ({"train": {"members": [SIZE] * 3}}, "member2.pt: no such model"),
        ({"train": {"radial_functions": 9}}, "radial_functions 8; set this in train"),
        ({"train": {"members": [{**SIZE, "layers": 2}] * 2}}, "layers 1; set this"),
        ({"train": {"states": "aware"}}, "other kind than train.states: aware"),
        ({"potential": "chgnet.model.dynamics.CHGNetCalculator"}, f"is of pretrain.potential: {TEACHER}"),
        ({"train": {"replay": 0.25}}, "has no frames of the teacher"),
    ):
        assert words in " ".join(problems(**changed).problems), words
    with pytest.raises(ConfigError, match="no frames of the teacher"):
        members = {"enabled": True, "members": str(folder), "potential": TEACHER}
        Rules(parse_config({"train": {"replay": 0.25}, "pretrain": members}), ROOT).replay_files()
    shutil.copy(made.files[0], folder)
    assert problems({"replay": 0.25}).problems == []
    torch.save({"members": []}, folder / "member1.pt")
    assert "member1.pt: no member of an ensemble" in " ".join(problems().problems)


def test_states_that_members_of_an_earlier_run_lack_are_named_before_anything_runs():
    """The shipped members know V3+ and V4+."""
    quickstart = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    assert inspect_potentials(parse_config(quickstart), ROOT).problems == []
    quickstart["electrons"]["levels"]["V"][2] = {"moment_muB": 2.8}
    problems = inspect_potentials(parse_config(quickstart), ROOT).problems
    assert len(problems) == 4 and all("does not know V2+" in problem for problem in problems)


def test_the_plan_checks_the_teacher_and_records_name_it(tmp_path):
    engine = {"name": "toy"}
    missing = parse_config({"engine": engine, "pretrain": {"enabled": True, "potential": "nowhere.Calculator"}})
    assert any("pretrain.potential: no nowhere.Calculator" in problem for problem in make_plan(missing, ROOT).problems)
    config = parse_config({"engine": engine, "pretrain": {"enabled": True, "potential": TEACHER}})
    plan = make_plan(config, ROOT)
    assert plan.problems == [] and (plan.jobs["pretrain: frames"], plan.jobs["pretrain: members"]) == (1, 4)
    assert make_manifest(config, [], tmp_path)["teacher"] == TEACHER
    (tmp_path / "pretrain").mkdir()
    (tmp_path / "pretrain/member2.pt").touch()
    assert f"pretrain: 1 of 4 members trained on {TEACHER}" in describe_status(tmp_path, config)
    assert "teacher" not in make_manifest(parse_config({"engine": engine}), [], tmp_path)
    summary = summarise_run(EnsembleRecord([], {"scale": 1.0}, [], TEACHER), [], [], [], [], [])
    assert summary["teacher"] == TEACHER and f"  pretrained on labels of {TEACHER}" in headline_lines(summary)
    assert "teacher" not in summarise_run(EnsembleRecord([], {"scale": 1.0}, []), [], [], [], [], [])


def test_chgnet_teaches_states(tmp_path):
    """CHGNet's own labels: V3+ and V4+ are told by its moments."""
    pytest.importorskip("chgnet")
    from chgnet.model.dynamics import CHGNetCalculator

    settings = Pretrain(enabled=True, **{**SHORT, "steps": 2, "frame_every": 2, "rattled": 1})
    teacher = CHGNetCalculator(use_device="cpu")
    frames = teacher_frames(
        structure(STARTS[1]), teacher, settings, LEVELS, np.random.default_rng(1), "h", Checkpoint(tmp_path, "f")
    )
    write_frames(tmp_path / "frames.extxyz", frames)
    atoms = structure(STARTS[1])
    atoms.calc = CHGNetCalculator(use_device="cpu")
    assert frames[0].get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-3)
    assert sorted(frames[0].arrays["oxidation"][atoms.numbers == 23]) == [3, 3, 3, 4]


def test_a_teacher_that_cannot_teach_states_is_refused_before_anything_runs(tmp_path):
    """V4+ occurs below x = 3 only."""
    aware = {
        "engine": {"name": "toy"},
        "electrons": LEVELS.model_dump(include={"levels"}),
        "train": {"states": "aware"},
    }
    aware["aimd"] = {"starts": [{"x": 2.5}]}

    def problems(**pretrain):
        return " ".join(
            make_plan(parse_config({**aware, "pretrain": {"enabled": True, **pretrain}}), tmp_path).problems
        )

    assert "gives no states or moments" in problems(potential="ase.calculators.lj.LennardJones")
    assert "no structure has V4+" in problems(potential=TEACHER, starts=[{"x": 3.0}])
    assert problems(potential=TEACHER, starts=[{"x": 2.0}]) == ""


def test_labels_of_two_versions_of_a_teacher_do_not_mix():
    frames = [
        labelled(structure(name), 0.0, np.zeros((len(structure(name)), 3)), config_id=name) for name in STARTS[:2]
    ]
    for frame, version in zip(frames, ("a", "b"), strict=True):
        frame.info["settings_hash"] = version
    assert common_teacher(frames[:1]) == "a"
    with pytest.raises(DataError, match=f"{STARTS[0]}; {STARTS[1]}.*delete the files of the older ones"):
        common_teacher(frames)
