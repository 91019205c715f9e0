"""The moment network on crystals whose moments follow from bond lengths, through the files of the workflow."""

import numpy as np
import pandas as pd
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from redoxmd.config import load_config
from redoxmd.config.sections import Moments, Train
from redoxmd.electrons.moment_checks import check_trajectory, compare_moment_states, left_out_states
from redoxmd.electrons.moment_tables import ATOM_COLUMNS, moment_errors, trajectory_agreement
from redoxmd.electrons.moments import MomentTrainer, load_moments, train_moments
from redoxmd.electrons.parsing import parse_levels
from redoxmd.errors import ConfigError, DataError
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.hdf5 import read_dataset, write_dataset
from redoxmd.files.records import read_json, write_json
from redoxmd.files.trajectory import Trajectory, join_segments, read_trajectory, write_segment
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.runs.run_tables import moment_record
from redoxmd.runs.status import headline_lines
from redoxmd.train.dataset import Dataset, build_dataset
from redoxmd.train.split import Configuration
from redoxmd.train.trainer import save_member

LEVELS = parse_levels("V3=1.85,V4=1.05", "Na=1,F=-1")
MOMENT_MUB = {3: 1.85, 4: 1.05}
BOND_A = {3: 1.95, 4: 1.78}
SPACING_A = 4.6
TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
ORDERS = ((3, 3, 3), (3, 3, 4), (3, 4, 3), (4, 3, 3), (3, 4, 4), (4, 3, 4), (4, 4, 3), (4, 4, 4))
SETTINGS = Moments(
    features=12,
    layers=1,
    cutoff_A=3.0,
    radial_functions=8,
    learning_rate=5e-3,
    max_steps=400,
    validate_every=50,
    ema_decay=0.9,
    device="cpu",
)
TRAIN = Train(validation_configurations=("c1", "c5"), test_configurations=("c2", "c6"))
# Bounds of the share of redox atoms of unseen configurations in the right state: with a planted relation, without one.
RIGHT, NOT_RIGHT = 0.97, 0.8


def crystal(order, seed, rattle_A=0.03):
    """Three V in tetrahedra of F, with bonds by state; as many Na as neutrality needs, at any of three places."""
    rng = np.random.default_rng(seed)
    symbols, positions = [], []
    for column, state in enumerate(order):
        centre = np.array([column * SPACING_A, 0.0, 0.0])
        symbols += ["V", *"FFFF"]
        positions += [centre, *(centre + BOND_A[state] * TETRAHEDRON)]
    places = rng.permutation(3)[: order.count(3)]
    symbols += ["Na"] * len(places)
    positions += [np.array([place * SPACING_A, SPACING_A / 2, SPACING_A / 2]) for place in places]
    atoms = Atoms(symbols, positions, cell=[3 * SPACING_A, SPACING_A, SPACING_A], pbc=True)
    atoms.positions += rattle_A * rng.standard_normal(atoms.positions.shape)
    return atoms


def labelled(order, config_id, step, seed, moments_of=None):
    """A label with the moments of a state, of either sign; those of the state `moments_of` if it is given."""
    atoms, rng = crystal(order, seed), np.random.default_rng(seed + 10_000)
    moments = np.zeros(len(atoms))
    signs = rng.choice([-1, 1], 3)
    states = order if moments_of is None else moments_of
    moments[atoms.numbers == 23] = signs * ([MOMENT_MUB[state] for state in states] + 0.02 * rng.standard_normal(3))
    atoms.calc = SinglePointCalculator(
        atoms, energy=-float(len(atoms)), forces=np.zeros((len(atoms), 3)), magmoms=moments
    )
    atoms.info |= {"config_id": config_id, "step": step, "converged": True, "settings_hash": "h"}
    return atoms


def write_labels(folder, shuffled=False):
    """Data set and record of eight configurations of three frames, as the rule `dataset` writes them."""
    rng = np.random.default_rng(4)
    frames = [
        labelled(order, f"c{number}", step, 100 * number + step, rng.permutation(order) if shuffled else None)
        for number, order in enumerate(ORDERS)
        for step in range(3)
    ]
    write_frames(folder / "labels.extxyz", frames)
    dataset = build_dataset(read_frames(folder / "labels.extxyz"), TRAIN, 1, "h", levels=LEVELS)
    write_frames(folder / "dataset.extxyz", dataset.frames)
    write_json(folder / "dataset.json", {"configurations": [c.record() for c in dataset.configurations.values()]})
    return folder / "dataset.extxyz"


def trained(path, folder, settings=SETTINGS, seed=3):
    """The network of the file that the rule `moments` writes."""
    checkpoint = Checkpoint(folder / "state", [str(path), seed])
    result = train_moments(Dataset(read_frames(path)), LEVELS, settings, seed, checkpoint)
    save_member(folder / "moments.pt", result, {})
    return load_moments(folder / "moments.pt")


def right_share(table):
    """Share of redox atoms in the state of the reference, by plain counting, of frames with different states."""
    atoms = [rows for _, rows in table.groupby(["set", "config_id", "step"]) if rows["state"].nunique() > 1]
    rows = pd.concat(atoms)
    return np.mean(rows["network_state"].to_numpy() == rows["state"].to_numpy())


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    path = write_labels(folder)
    return path, trained(path, folder)


def compared(path, network, folder):
    """Through the CSV file, as the rule `moment_errors`."""
    compare_moment_states(network, read_frames(path), LEVELS).to_csv(folder / "states.csv", index=False)
    return pd.read_csv(folder / "states.csv")


def test_planted_moments_are_found_on_unseen_configurations(planted, tmp_path):
    path, network = planted
    table = compared(path, network, tmp_path)
    unseen = table[table["set"] == "test"]
    assert sorted(set(unseen["config_id"])) == ["c2", "c6"] and len(unseen) == 2 * 3 * 3
    assert right_share(unseen) >= RIGHT
    # Against the moments of the file, whose noise is 0.02 μB.
    reference = [abs(frame.get_magnetic_moments()[frame.numbers == 23]) for frame in read_frames(path)]
    np.testing.assert_allclose(table["moment_muB"], np.concatenate(reference), rtol=1e-6)
    assert np.abs(unseen["network_muB"] - unseen["moment_muB"]).mean() < 0.15


def test_shuffled_moments_are_not_found(tmp_path):
    """Moments of another atom of the frame: no relation to learn, so the bound of the test above is not met."""
    path = write_labels(tmp_path, shuffled=True)
    table = compared(path, trained(path, tmp_path), tmp_path)
    assert right_share(table[table["set"] == "test"]) < NOT_RIGHT


def test_the_network_does_not_read_states(planted):
    path, network = planted
    for frame in read_frames(path)[:4]:
        other = frame.copy()
        other.set_array("oxidation", np.zeros(len(frame), dtype=int))
        np.testing.assert_array_equal(network.predict(other), network.predict(frame))
        assert not network.predict(frame)[frame.numbers != 23].any()


def test_the_moment_is_a_scalar_of_the_crystal(planted):
    """Rotation, order of atoms and a supercell leave it."""
    path, network = planted
    frame = read_frames(path)[5]
    moments, order = network.predict(frame), np.random.default_rng(0).permutation(len(frame))
    turned = frame.copy()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    np.testing.assert_allclose(network.predict(turned), moments, atol=1e-5)
    np.testing.assert_allclose(network.predict(frame[order]), moments[order], atol=1e-5)
    np.testing.assert_allclose(network.predict(frame.repeat((1, 2, 1))), np.tile(moments, 2), atol=1e-5)


def configurations(path):
    """As the rule `moment_fold` reads them."""
    record = read_json(path.parent / "dataset.json")["configurations"]
    return {item["config_id"]: Configuration(**item) for item in record}


def left_out(path, folder, fold, folds=6):
    settings = SETTINGS.model_copy(update={"folds": folds, "max_steps": 100})
    checkpoint = Checkpoint(folder / f"fold{fold}", [str(path), fold])
    frames = read_frames(path)
    return left_out_states(frames, configurations(path), TRAIN, LEVELS, settings, fold, 1, checkpoint)


def test_leave_one_out_judges_every_configuration_once_by_a_network_that_never_saw_it(planted, tmp_path):
    path, _ = planted
    tables = [left_out(path, tmp_path, fold) for fold in range(7)]
    assert tables[6].empty and set(pd.concat(tables[:6])["set"]) == {"left_out"}
    names = [name for table in tables[:6] for name in set(table["config_id"])]
    assert sorted(names) == ["c0", "c1", "c3", "c4", "c5", "c7"]
    # Other moments in the fold and in the test set change no prediction.
    changed = read_frames(path)
    for frame in changed:
        if frame.info["config_id"] in {names[0], "c2", "c6"}:
            frame.calc.results["magmoms"] = 3.0 - frame.calc.results["magmoms"]
    (tmp_path / "other").mkdir()
    write_frames(tmp_path / "other/dataset.extxyz", changed)
    (tmp_path / "other/dataset.json").write_text((path.parent / "dataset.json").read_text())
    again = left_out(tmp_path / "other/dataset.extxyz", tmp_path / "other", 0)
    np.testing.assert_array_equal(again["network_muB"], tables[0]["network_muB"])
    assert not np.allclose(again["moment_muB"], tables[0]["moment_muB"])


def test_an_interrupted_training_gives_the_same_network(planted, tmp_path, monkeypatch):
    path, network = planted
    run_interval, calls = MomentTrainer.run_interval, []

    def interrupted(trainer, stop=None):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        run_interval(trainer, stop)

    monkeypatch.setattr(MomentTrainer, "run_interval", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(path, tmp_path)
    resumed = trained(path, tmp_path)
    assert len(calls) < 3 + SETTINGS.max_steps // SETTINGS.validate_every
    for name, value in network.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_counts_of_a_table_by_hand(tmp_path):
    """Two frames with a choice, one without; the network is wrong about two atoms, bond valences about four."""
    rows = [
        ("test", "a", 0, atom, "V", moment, moment + 0.1, *states)
        for atom, (moment, states) in enumerate(
            [(1.85, (3, 3, 3)), (1.85, (3, 4, 4)), (1.05, (4, 3, 4)), (1.05, (4, 4, 3))]
        )
    ]
    rows += [("test", "a", 1, atom, "V", 1.0, 1.2, *states) for atom, states in enumerate([(4, 4, 3), (3, 3, 4)])]
    rows += [("test", "b", 0, atom, "V", 1.85, 1.85, 3, 3, 3) for atom in range(2)]
    pd.DataFrame(rows, columns=list(ATOM_COLUMNS)).to_csv(tmp_path / "states.csv", index=False)
    moment_errors(pd.read_csv(tmp_path / "states.csv")).to_csv(tmp_path / "errors.csv", index=False)
    choice, none = pd.read_csv(tmp_path / "errors.csv").to_dict("records")
    assert (choice["config_id"], choice["choice"], none["config_id"], none["choice"]) == ("a", True, "b", False)
    assert (choice["n_frames"], choice["n_atoms"], choice["atoms_network"], choice["frames_network"]) == (2, 6, 4, 1)
    assert (choice["atoms_bonds"], choice["frames_bonds"]) == (2, 0)
    # Of four atoms, two in each state, two are right by chance; of two atoms, one.
    assert choice["atoms_chance"] == pytest.approx(2 + 1)
    assert choice["moment_mae_muB"] == pytest.approx((4 * 0.1 + 2 * 0.2) / 6)
    (pooled,) = [row for row in moment_record(pd.read_csv(tmp_path / "errors.csv"))["states"] if row["choice"]]
    assert {key: pooled[key] for key in ("n_atoms", "atoms_network")} == {"n_atoms": 6, "atoms_network": 4}


def write_trajectory(path, orders, states):
    """Crystals of these orders with other states written beside them."""
    frames = [crystal(order, 7) for order in orders]
    oxidation = np.zeros((len(frames), len(frames[0])), dtype=int)
    oxidation[:, frames[0].numbers == 23] = states
    time_fs = 10.0 * np.arange(len(frames))
    metadata = {"structure": "x2.000_random0_1x1x1", "x": 2.0, "temperature_K": 900.0, "replica": 0, "mobile_ion": "Na"}
    made = Trajectory(
        *(frames[0].numbers, np.array([frame.positions for frame in frames]), frames[0].cell.array),
        *(np.arange(len(frames)), time_fs, np.full(len(frames), 900.0), np.zeros(len(frames)), np.zeros(len(frames))),
        metadata=metadata,
        oxidation=oxidation,
        hops=np.zeros((0, 5)),
    )
    write_segment(path.with_suffix(".segment.h5"), made)
    join_segments([path.with_suffix(".segment.h5")], path, metadata, hops=made.hops)
    return frames


def test_states_of_a_trajectory_that_the_geometry_contradicts(planted, tmp_path):
    """Of four frames one is in another state than its bonds: two of its three V are wrong."""
    _, network = planted
    orders = [(3, 3, 4), (3, 3, 4), (3, 4, 3), (3, 4, 3)]
    states = [(3, 3, 4), (3, 3, 4), (3, 3, 4), (3, 4, 3)]
    frames = write_trajectory(tmp_path / "t.h5", orders, states)
    write_dataset(tmp_path / "t.nc", check_trajectory(read_trajectory(tmp_path / "t.h5"), network, LEVELS))
    check = read_dataset(tmp_path / "t.nc")
    assert check["n_agree"].to_numpy().tolist() == [3, 3, 1, 3]
    predicted = np.array([network.predict(frame)[frame.numbers == 23] for frame in frames])
    levels = np.array([[MOMENT_MUB[state] for state in row] for row in states])
    np.testing.assert_allclose(check["moment_error_muB"], np.abs(predicted - levels).mean(axis=1), atol=1e-4)
    assert check["moment_error_muB"][2] > 0.4 > 0.15 > check["moment_error_muB"][0]
    trajectory_agreement([check]).to_csv(tmp_path / "agreement.csv", index=False)
    (row,) = pd.read_csv(tmp_path / "agreement.csv").to_dict("records")
    assert (row["choice"], row["n_frames"], row["n_redox"]) == (True, 4, 3)
    assert (row["atoms_share"], row["frames_share"]) == (pytest.approx(10 / 12, abs=1e-5), 0.75)


def test_headlines_of_a_run_state_shares_and_chance(tmp_path):
    numbers = {"n_frames": 20, "n_atoms": 80, "atoms_network": 78, "frames_network": 19, "atoms_bonds": 70}
    row = {
        "set": "test",
        "config_id": "a",
        **numbers,
        "frames_bonds": 15,
        "atoms_chance": 50.0,
        "moment_mae_muB": 0.0512,
    }
    pd.DataFrame([{**row, "choice": True}, {**row, "choice": False, "config_id": "b"}]).to_csv(tmp_path / "e.csv")
    agreement = {"choice": True, "n_frames": 10, "n_redox": 4, "atoms_share": 0.9, "frames_share": 0.8}
    pd.DataFrame(
        [{**agreement, "moment_error_muB": 0.1}, {**agreement, "moment_error_muB": 0.2, "n_frames": 30}]
    ).to_csv(tmp_path / "a.csv")
    record = moment_record(pd.read_csv(tmp_path / "e.csv"), pd.read_csv(tmp_path / "a.csv"))
    write_json(tmp_path / "summary.json", {"errors": [], "generations": [], "moments": record} | EMPTY)
    lines = headline_lines(read_json(tmp_path / "summary.json"))
    assert lines[-3:] == [
        "  moment network, test, one state per element: |moment| MAE 0.051 μB",
        "  moment network, test: |moment| MAE 0.051 μB, right states for 78 of 80 redox atoms (70 by bond "
        "valences, 50 by chance) and all atoms of 19 of 20 frames (15)",
        "  moment network, 2 trajectories: 90.0 % of the redox atoms and all atoms of 80.0 % of the frames in the "
        "states of the MD; |moment| 0.175 μB from their levels",
    ]


EMPTY = {"diffusivities": [], "arrhenius": [], "concerted": [], "sites": []}


class TestRefusals:
    def test_a_data_set_without_moments(self, planted, tmp_path):
        frames = read_frames(planted[0])
        for frame in frames:
            del frame.calc.results["magmoms"]
        write_frames(tmp_path / "dataset.extxyz", frames)
        with pytest.raises(DataError, match=r"no training frame has moments .* electrons.moments.enabled: false"):
            trained(tmp_path / "dataset.extxyz", tmp_path)

    def test_a_file_of_a_potential(self, tmp_path):
        torch.save({"settings": {"elements": [9]}, "state": {}}, tmp_path / "member0.pt")
        with pytest.raises(
            DataError, match=r"member0.pt: not a moment network; delete it and run the rule moments again"
        ):
            load_moments(tmp_path / "member0.pt")

    def test_a_trajectory_without_states_or_with_one_that_has_no_level(self, planted, tmp_path):
        write_trajectory(tmp_path / "t.h5", [(3, 3, 4)], [(3, 3, 5)])
        trajectory = read_trajectory(tmp_path / "t.h5")
        with pytest.raises(DataError, match=r"t.h5: an oxidation state without a moment; add it to electrons.levels"):
            check_trajectory(trajectory, planted[1], LEVELS)
        trajectory.oxidation = None
        with pytest.raises(DataError, match=r"t.h5: no oxidation states; run production with train.states: aware"):
            check_trajectory(trajectory, planted[1], LEVELS)

    def test_a_network_without_levels(self, tmp_path):
        (tmp_path / "config.yaml").write_text("run: a\nelectrons: {moments: {enabled: true}}\n")
        with pytest.raises(ConfigError, match="the moment network needs levels"):
            load_config(tmp_path / "config.yaml")
