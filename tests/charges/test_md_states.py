"""Redox analysis of trajectories whose MD has oxidation states, through the files of the rules charges and redox.

The walk of `test_tables`: one V4+ at V 0 up to 620 fs, then at V 2; the MD records that hop. By the planted charges it
is at the same atoms, at others, or at none.
"""

import dataclasses
import json
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from redoxmd.charges.event import describe_best_jump
from redoxmd.charges.redox import compare_states
from redoxmd.charges.tables import trajectory_charges
from redoxmd.config.declared import settings_for
from redoxmd.config.sections import Charges, Diffusion, Figures, Structures
from redoxmd.diffusion.analysis import analyse_trajectory
from redoxmd.figures import fig10_jump
from redoxmd.files.hdf5 import read_dataset, write_dataset
from redoxmd.files.trajectory import join_segments, read_trajectory, write_segment
from redoxmd.jobs.checkpoint import Checkpoint
from tests.charges.test_tables import MIXTURE, MODEL, SETTINGS, charges_of, walk
from tests.charges.test_tables import model as silent_model  # noqa: F401
from tests.scripts import execute, run_script

HOP_FS = 610.0
NEVER = 1000


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Trajectory with states and hops as production writes it, and its jumps."""
    folder, trajectory = tmp_path_factory.mktemp("md"), walk()
    v = np.flatnonzero(trajectory.numbers == 23)
    oxidation = np.where(trajectory.numbers == 23, 3, 0) * np.ones((60, 1), dtype=int)
    high = np.where(trajectory.time_fs <= HOP_FS, v[0], v[2])
    oxidation[np.arange(60), high] = 4
    write_segment(folder / "0.h5", dataclasses.replace(trajectory, oxidation=oxidation))
    hops = np.array([[HOP_FS, v[2], v[0], -0.1, 0.01]])
    join_segments([folder / "0.h5"], folder / "t.h5", trajectory.metadata, hops=hops)
    write_dataset(folder / "jumps.nc", analyse_trajectory(read_trajectory(folder / "t.h5"), Diffusion(), 1))
    return folder


def with_states(files, charges):
    """Charges of some frames, with the states and hops of the MD, as the rule charges writes them."""
    trajectory = read_trajectory(files / "t.h5")
    frames = np.searchsorted(trajectory.time_fs, charges["time_fs"].to_numpy())
    return charges.assign(
        oxidation=(("frame", "atom"), trajectory.oxidation[frames]), md_hops=(("hop", "column"), trajectory.hops)
    )


def test_charges_keep_the_states_and_hops_of_the_trajectory(files, tmp_path, silent_model):  # noqa: F811
    trajectory = read_trajectory(files / "t.h5")
    settings = SETTINGS.model_copy(update={"spacing_A": 0.4})
    table = trajectory_charges(trajectory, [0, 40], silent_model, settings, Structures(), Checkpoint(tmp_path / "s", 1))
    write_dataset(tmp_path / "c.nc", table)
    table, v = xr.load_dataset(tmp_path / "c.nc", engine="h5netcdf"), np.flatnonzero(trajectory.numbers == 23)
    assert table["oxidation"].to_numpy()[:, v].tolist() == [[4, 3, 3, 3], [3, 3, 4, 3]]
    assert table["md_hops"].to_numpy().tolist() == [[HOP_FS, v[2], v[0], -0.1, 0.01]]


def redox(files, folder, charges, mixture=MIXTURE):
    """Tables of the rule redox, as it writes them."""
    write_dataset(folder / "c.nc", charges)
    (folder / "oxidation.json").write_text(json.dumps(mixture))
    outputs = {name: str(folder / f"{name}.csv") for name in ("table", "hops", "states")}
    inputs = {"charges": [str(folder / "c.nc")], "jumps": [str(files / "jumps.nc")]}
    params = {"charges": settings_for("redox", SETTINGS), "structures": settings_for("redox", Structures())}
    execute("redox", folder, params, inputs | {"mixture": str(folder / "oxidation.json")}, outputs)
    return {name: pd.read_csv(path) for name, path in outputs.items()}


ALL = np.arange(60)
NOT_FITTED = {"fitted": False, "states": [3, 4], "summary": "one oxidation state only"}


@pytest.mark.parametrize(
    ("hop_at", "mixture", "share", "chance", "frames", "charge_hops"),
    [
        # The same states: by chance an atom agrees in (1·1 + 3·3)/16 of the cases.
        (31, MIXTURE, 1.0, 10 / 16, 1.0, 1),
        # By the charges the electron stays: two of four atoms are wrong in the 29 frames after the hop.
        (NEVER, MIXTURE, (31 + 29 / 2) / 60, 10 / 16, 31 / 60, 0),
        # Charges that show one state only say nothing; the analysis has the states of the MD all the same.
        (31, NOT_FITTED, np.nan, np.nan, np.nan, 0),
    ],
)
def test_states_of_the_md_are_analysed_and_charges_check_them(
    files, tmp_path, hop_at, mixture, share, chance, frames, charge_hops
):
    tables = redox(files, tmp_path, with_states(files, charges_of(walk(), ALL, hop_at)), mixture)
    (row,), v = tables["table"].to_dict("records"), np.flatnonzero(walk().numbers == 23)
    assert (row["n_high_mean"], row["n_high_expected"], row["n_hops"]) == (1, 1, 1)
    found = [row[name] for name in ("same_atoms_share", "same_atoms_chance", "same_frames_share")]
    np.testing.assert_allclose(found, [share, chance, frames], rtol=1e-6)
    assert row["charge_hops"] == charge_hops
    assert (row["resolved_ps"], row["charge_resolved_ps"]) == (pytest.approx(1.18), pytest.approx(1.18))
    assert tables["hops"][["time_fs", "donor", "acceptor"]].to_numpy().tolist() == [[HOP_FS, v[2], v[0]]]
    high = tables["states"].query("state == 4").groupby("atom")["time_fs"].agg(["min", "max"])
    assert high.to_dict("index") == {v[0]: {"min": 0, "max": 600}, v[2]: {"min": 620, "max": 1180}}


def test_frames_far_apart_have_the_recorded_hops_and_no_pair_by_charges(files, tmp_path):
    """Frames 400 fs apart do not resolve pairs (`pair_window_fs` 200 fs); the MD recorded the hop."""
    far = charges_of(walk(), np.arange(0, 60, 20))
    row = redox(files, tmp_path, with_states(files, far))["table"].iloc[0]
    assert (row["n_hops"], row["resolved_ps"]) == (1, pytest.approx(0.8))
    assert (row["charge_hops"], row["charge_resolved_ps"]) == (0, 0)


def test_states_without_recorded_hops_are_paired_where_frames_resolve_them(files, tmp_path):
    """As along a file of another code with the array `oxidation`."""
    for every, hops in ((2, 1), (20, 0)):
        charges = with_states(files, charges_of(walk(), np.arange(0, 60, every))).drop_vars("md_hops")
        assert redox(files, tmp_path, charges)["table"].loc[0, "n_hops"] == hops


def test_without_states_of_the_md_there_is_nothing_to_check(files, tmp_path):
    tables = redox(files, tmp_path, charges_of(walk(), ALL))
    assert tables["table"].filter(regex="^same_|^charge_(hops|resolved)").isna().all(axis=None)
    assert tables["states"]["charge_state"].isna().all() and set(tables["states"]["state"]) == {3, 4}


def test_the_chance_is_the_mean_over_all_shuffles():
    rng = np.random.default_rng(3)
    level, by_charge = rng.integers(0, 2, (5, 4)), rng.integers(0, 2, (5, 4))
    by_charge[1] = -1
    level[2, 3] = -1
    expected, total = 0.0, 0
    for a, b in zip(level, by_charge, strict=True):
        known = (a >= 0) & (b >= 0)
        # Each order of the states by charge.
        same = [(a[known] == b[known][list(order)]).sum() for order in permutations(range(known.sum()))]
        expected, total = expected + np.mean(same), total + known.sum()
    found = compare_states(level, by_charge)
    assert found["same_atoms_chance"] == pytest.approx(expected / total)
    assert found["same_atoms_share"] == pytest.approx((level == by_charge)[(level >= 0) & (by_charge >= 0)].mean())
    whole = [(a == b).all() for a, b in zip(level, by_charge, strict=True) if min(*a, *b) >= 0]
    assert found["same_frames_share"] == pytest.approx(np.mean(whole))


def test_the_histogram_shows_both_ways_side_by_side(files, tmp_path):
    redox(files, tmp_path, with_states(files, charges_of(walk(), ALL, NEVER)))
    rng = np.random.default_rng(0)
    reference = pd.DataFrame({"element": "V", "reference_charge_e": rng.normal(2.0, 0.02, 40)})
    reference.assign(predicted_charge_e=reference["reference_charge_e"]).to_csv(tmp_path / "ref.csv", index=False)
    inputs = {"charges": "ref.csv", "states": "states.csv", "mixture": "oxidation.json"}
    inputs = {name: str(tmp_path / file) for name, file in inputs.items()}
    drawn = run_script("fig3c_histogram", tmp_path, {"caption": {"element": "V"}}, **inputs)
    along = drawn.query("kind == 'trajectories'")
    # Every V4+ of the MD after the hop is a V3+ by charge.
    assert ((along["state"] == 4) & (along["charge_state"] == 3)).sum() == 29
    text = (tmp_path / "fig3c_histogram.svg").read_text()
    assert "b  trajectories, states of the MD; lines: fit" in text
    assert "d  as b, states of the charges; lines: fit" in text


def test_the_jump_is_shown_with_the_hops_of_both_ways(files, tmp_path):
    write_dataset(tmp_path / "c.nc", with_states(files, charges_of(walk(), ALL, 33)))
    event = describe_best_jump(
        [read_dataset(tmp_path / "c.nc")],
        [read_dataset(files / "jumps.nc")],
        lambda _: read_trajectory(files / "t.h5"),
        MODEL,
        Structures(),
        Charges(**SETTINGS.model_dump()),
    )
    assert (event.hop_times_fs, event.charge_hop_times_fs) == ([HOP_FS], [660.0])
    assert sorted(set(np.concatenate([shot.probability for shot in event.snapshots]))) == [0.0, 1.0]
    figure = fig10_jump.draw(event, Figures())
    names = {line.get_label() for line in figure.axes[0].lines}
    assert {"electron hop", "hop by charges alone"} < names
