"""Hops of trajectories whose hops, jumps and distances are known, through the files of the workflow."""

from functools import cache

import numpy as np
import pytest
from ase import Atoms
from ase.geometry import get_distances

from redoxmd.config.sections import Charges, Diffusion, Electrons, Structures
from redoxmd.diffusion.analysis import analyse_trajectory
from redoxmd.electrons.hops import analyse_hops, find_returns, summarise_hops
from redoxmd.errors import DataError
from redoxmd.files.hdf5 import read_dataset, write_dataset
from redoxmd.files.trajectory import Trajectory, join_segments, read_trajectory, write_segment
from redoxmd.structures.build import build_structure
from redoxmd.structures.request import parse_name
from redoxmd.structures.source import source_cell
from redoxmd.units import BOLTZMANN_EV_PER_K

NAME = "x2.500_random1_1x1x1"
START = build_structure(parse_name(NAME), Structures(), 1)
V, OXYGEN, NA = (np.flatnonzero(START.numbers == z) for z in (23, 8, 11))
STEP_FS = 10.0
BOND_A = {3: 2.03, 4: 1.95, 5: 1.87}
# Time, donor, acceptor among the V: there and back, a hop beside an ion jump, there and back after a long time.
HOPS = [(100.0, 1, 0), (150.0, 0, 1), (600.0, 2, 0), (900.0, 3, 2), (1200.0, 2, 3)]
CHARGES = Charges(hop_window_fs=50.0)


def octahedra(state):
    """The structure with the six O of each V at the bond length of its state; no O belongs to two V."""
    positions = START.positions.copy()
    vectors, distances = get_distances(START.positions[V], START.positions[OXYGEN], cell=START.cell, pbc=True)
    assert len(set(np.argsort(distances, axis=1)[:, :6].ravel())) == 24
    for atom in range(4):
        for ligand in np.argsort(distances[atom])[:6]:
            shift = vectors[atom, ligand] * (BOND_A[int(state[atom])] / distances[atom, ligand] - 1)
            positions[OXYGEN[ligand]] += shift
    return positions


def trajectory(hops, frames=201, first=(4, 3, 3, 3), moved=None, kelvin=900.0, replica=0):
    """Frames that show a hop after its time; from the frame `moved` on, an ion is at another site."""
    state, states, pending = list(first), [], list(hops)
    for frame in range(frames):
        while pending and pending[0][0] < frame * STEP_FS:
            _, donor, acceptor = pending.pop(0)
            state[donor], state[acceptor] = state[acceptor], state[donor]
        states.append(tuple(state))
    places = {key: octahedra(key) for key in set(states)}
    positions = np.array([places[key] for key in states])
    if moved is not None:
        positions[moved:, NA[0]] = vacant_site()
    oxidation = np.zeros((frames, len(START)), dtype=int)
    oxidation[:, V] = states
    time_fs = STEP_FS * np.arange(frames)
    table = [(time, V[donor], V[acceptor], -0.1, 0.02) for time, donor, acceptor in hops]
    return Trajectory(
        *(START.numbers, positions, START.cell.array, np.arange(frames), time_fs, np.full(frames, kelvin)),
        *(np.zeros(frames), np.zeros(frames)),
        metadata={"structure": NAME, "x": 2.5, "temperature_K": kelvin, "replica": replica, "mobile_ion": "Na"}
        | {"swaps_checked": 40, "swaps_missed": 2},
        oxidation=oxidation,
        hops=np.array(table, dtype=float).reshape(-1, 5),
    )


def sites():
    cell = source_cell(Structures()).atoms
    return cell[cell.arrays["site"] != "-"].positions


def vacancies(ions):
    _, distances = get_distances(ions, sites(), cell=START.cell, pbc=True)
    return np.delete(sites(), distances.argmin(axis=1), axis=0)


def vacant_site():
    """An empty site more than 3 Å from the first ion, in the image nearest to it."""
    vectors, distances = get_distances(START.positions[NA[:1]], vacancies(START.positions[NA]), START.cell, pbc=True)
    far = np.flatnonzero(distances[0] > 3.2)[0]
    return START.positions[NA[0]] + vectors[0, far]


@cache
def ion_jumps(frames, moved):
    """They do not depend on the electrons."""
    return analyse_trajectory(trajectory([], frames, moved=moved), Diffusion(van_hove_lags_ps=(0.1,)), 1, Structures())


def analysed(folder, made, electrons=None, moved=None):
    """Through the H5MD file and the tables of jumps and hops."""
    write(folder / "t.h5", made)
    read = read_trajectory(folder / "t.h5")
    write_dataset(folder / "jumps.nc", ion_jumps(len(made.steps), moved))
    jumps = read_dataset(folder / "jumps.nc")
    hops = analyse_hops(read, jumps, Structures(), CHARGES, electrons or Electrons())
    write_dataset(folder / "hops.nc", hops)
    return read_dataset(folder / "hops.nc")


def write(path, made):
    """As production does: a segment, then the trajectory with the table of hops."""
    segment = path.with_suffix(".segment.h5")
    write_segment(segment, made)
    join_segments([segment], path, made.metadata, hops=made.hops)


def test_known_hops_life_times_bonds_and_vacancies(tmp_path):
    made = trajectory(HOPS, moved=61)
    data = analysed(tmp_path, made, moved=61)
    assert (data["n_hops"].item(), data["n_lasting"].item(), data["n_redox"].item()) == (5, 3, 4)
    assert (data["swaps_checked"].item(), data["swaps_missed"].item()) == (40, 2)
    assert data["hop_rattling"].to_numpy().tolist() == [True, True, False, False, False]
    assert data["hop_donor"].to_numpy().tolist() == V[[1, 0, 2, 3, 2]].tolist()
    # Of five hops one is 10 fs before the jump at 610 fs; 11 of 201 frames are within 50 fs of it.
    assert data["hop_jump"].to_numpy().tolist() == [-1, -1, 0, -1, -1]
    assert data["hop_lag_fs"].to_numpy()[2] == -10.0
    assert data["near_jump_share"].item() == pytest.approx(1 / 5)
    assert data["near_jump_share_chance"].item() == pytest.approx(11 / 201)
    distance = Atoms("V2", START.positions[V[[2, 0]]], cell=START.cell, pbc=True).get_distance(0, 1, mic=True)
    assert data["hop_electron_A"].to_numpy()[2] == pytest.approx(distance, abs=1e-5)
    # Two picoseconds: one V4+ leaves its state five times, and so do three V3+.
    assert data["state_state"].to_numpy().tolist() == ["V3+", "V4+"]
    np.testing.assert_allclose(data["state_life_ps"], [3 * 2 / 5, 2 / 5])
    np.testing.assert_allclose(data["state_lasting_life_ps"], [3 * 2 / 3, 2 / 3])
    np.testing.assert_allclose(data["state_bond_A"], [2.03, 1.95], atol=1e-5)
    nearest, framework = [], START.numbers != 11
    for positions in made.positions_A:
        drift = np.average((positions - START.positions)[framework], axis=0, weights=START.get_masses()[framework])
        positions = positions - drift
        _, distances = get_distances(positions[V], vacancies(positions[NA]), cell=START.cell, pbc=True)
        nearest.append(distances.min(axis=1))
    high = made.oxidation[:, V] == 4
    expected = [np.array(nearest)[mask].mean() for mask in (~high, high)]
    np.testing.assert_allclose(data["state_vacancy_A"], expected, atol=1e-5)


def test_electrons_at_rest_and_three_states(tmp_path):
    still = analysed(tmp_path, trajectory([], frames=21))
    assert (still["n_hops"].item(), still.sizes["hop"]) == (0, 0)
    assert np.isnan(still["state_life_ps"]).all()
    three = analysed(tmp_path, trajectory([(50.0, 0, 1), (100.0, 3, 1)], frames=21, first=(3, 5, 4, 3)))
    assert three["state_state"].to_numpy().tolist() == ["V3+", "V4+", "V5+"]
    # The V5+ was at atom 1 until 50 fs, then at atom 0, where it stayed: the second hop is between V3+ and V3+.
    assert three["state_n_left"].to_numpy().tolist() == [3, 0, 1]


@pytest.mark.parametrize(
    ("within_fs", "rattling"),
    [(49.0, [0, 0, 0, 0, 0]), (50.0, [1, 1, 0, 0, 0]), (299.0, [1, 1, 0, 0, 0]), (300.0, [1, 1, 0, 1, 1])],
)
def test_rattling_within_a_time(within_fs, rattling, tmp_path):
    data = analysed(tmp_path, trajectory(HOPS), Electrons(return_fs=within_fs))
    assert data["hop_rattling"].to_numpy().tolist() == list(map(bool, rattling))


def test_hops_without_the_rattling_ones_lead_to_the_same_state():
    rng, state, rows = np.random.default_rng(3), [4, 4, 3, 3, 3, 3], []
    for _ in range(500):
        donor = rng.choice(np.flatnonzero(np.array(state) == 3))
        acceptor = rng.choice(np.flatnonzero(np.array(state) == 4))
        state[donor], state[acceptor] = 4, 3
        rows.append((int(donor), int(acceptor)))
    rattling = find_returns(np.arange(500.0), np.array(rows), 20.0)
    assert 20 < rattling.sum() < 400 and rattling.sum() % 2 == 0
    lasting = [4, 4, 3, 3, 3, 3]
    for (donor, acceptor), left_out in zip(rows, rattling, strict=True):
        if not left_out:
            assert (lasting[donor], lasting[acceptor]) == (3, 4)
            lasting[donor], lasting[acceptor] = 4, 3
    assert lasting == state


def test_rates_over_replicas_and_temperatures_give_the_activation_energy(tmp_path):
    """Hops at random times with the rate k·exp(−Ea/kT), Ea = 0.15 eV."""
    rng, data, counts = np.random.default_rng(5), [], {}
    for kelvin in (600.0, 900.0, 1200.0):
        for replica in (0, 1):
            rate_per_fs = 0.4 * np.exp(-0.15 / (BOLTZMANN_EV_PER_K * kelvin))
            times = np.sort(rng.uniform(0, 2000.0, rng.poisson(2000.0 * rate_per_fs)))
            hole, hops = 0, []
            for time in times:
                donor = int(rng.choice([atom for atom in range(4) if atom != hole]))
                hops.append((time, donor, hole))
                hole = donor
            counts[kelvin] = counts.get(kelvin, 0) + len(hops)
            data.append(analysed(tmp_path, trajectory(hops, kelvin=kelvin, replica=replica)))
    summary = summarise_hops(data, Diffusion())
    assert summary.rates["n_hops"].tolist() == list(counts.values())
    # Two replicas of 2 ps with four V.
    np.testing.assert_allclose(summary.rates["all_per_ns_atom"], np.array(list(counts.values())) / 0.016)
    assert len(summary.hops) == sum(counts.values()) and len(summary.trajectories) == 6
    fit = summary.arrhenius[summary.arrhenius["kind"] == "all"].iloc[0]
    assert fit["fitted"] and abs(fit["Ea_eV"] - 0.15) < 2 * fit["Ea_error_eV"] < 0.06
    high = summary.states[summary.states["state"] == "V4+"]
    np.testing.assert_allclose(high["life_ps"], 4.0 / np.array(list(counts.values())))
    np.testing.assert_allclose(high["bond_A"], 1.95, atol=1e-5)
    assert (summary.rates["all_low_per_ns_atom"] < summary.rates["all_per_ns_atom"]).all()


def test_without_hops_there_is_no_fit(tmp_path):
    data = [analysed(tmp_path, trajectory([], frames=21, kelvin=kelvin)) for kelvin in (600.0, 900.0, 1200.0)]
    summary = summarise_hops(data, Diffusion())
    assert summary.arrhenius["reason"].tolist() == ["hops at 0 of 3 temperatures, 2 are needed"] * 2
    assert list(summary.hops.columns[:5]) == ["structure", "x", "temperature_K", "replica", "time_fs"]


def test_files_that_contradict_themselves_are_refused_by_frame(tmp_path):
    made = trajectory(HOPS)
    made.hops = made.hops[1:]
    with pytest.raises(DataError, match=r"t\.h5: the oxidation states of frame 11 .* not those after the hops"):
        analysed(tmp_path, made)
    blind = trajectory([])
    blind.oxidation = blind.hops = None
    with pytest.raises(DataError, match=r"t\.h5: no oxidation states.*train\.states: aware"):
        analysed(tmp_path, blind)
