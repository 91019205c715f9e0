import numpy as np
import pandas as pd
import pytest
import torch
from ase.calculators.fd import calculate_numerical_forces

from redoxmd.errors import DataError
from redoxmd.model.calculator import EnsembleCalculator
from redoxmd.model.ensemble import Ensemble, ensemble_identity, load_ensemble, save_ensemble
from redoxmd.model.graph import build_graph
from redoxmd.model.painn import Painn
from redoxmd.train.calibration import EnsembleErrors, calibrate, calibrated, calibration_of, evaluate
from tests.conftest import rock, spring_label

ELEMENTS = [8, 11, 15, 23]


def aware_ensemble():
    """Two networks with random weights that distinguish V3+ and V4+, whose states differ by tenths of an eV."""
    networks = []
    for seed in range(2):
        torch.manual_seed(seed)
        network = Painn([8, 11, 15, 23, 23], 8, 2, 4.0, 6, states=[0, 0, 0, 3, 4])
        network.scale_eV.fill_(0.3)
        networks.append(network)
    return Ensemble(networks)


def members(count=3, dtype=torch.float64, seed=0, **changes):
    torch.manual_seed(seed)
    sizes = {"features": 8, "layers": 2, "cutoff_A": 4.0, "radial_functions": 5, **changes}
    return [Painn(ELEMENTS, **{**sizes, "features": sizes["features"] + 2 * i}).to(dtype) for i in range(count)]


def test_shared_pairs_equal_members_alone():
    ensemble = Ensemble(members())
    atoms = rock(1)
    prediction = ensemble.predict(atoms)
    for number, member in enumerate(ensemble.members):
        energy, forces, _ = member(build_graph(atoms, ELEMENTS, 4.0))
        assert prediction.energies_eV[number] == pytest.approx(float(energy.detach()), abs=1e-10)
        np.testing.assert_allclose(prediction.member_forces_eV_A[number], forces.detach(), atol=1e-10)
    assert prediction.energy_eV == pytest.approx(prediction.energies_eV.mean())
    np.testing.assert_allclose(prediction.forces_eV_A, prediction.member_forces_eV_A.mean(axis=0))


def test_members_that_cannot_share_pairs_are_refused():
    with pytest.raises(DataError, match="cutoff"):
        Ensemble([*members(1), *members(1, cutoff_A=5.0)])


def test_calculator_forces_are_the_gradient_of_its_energy():
    atoms = rock(3)
    atoms.calc = EnsembleCalculator(Ensemble(members()))
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), atol=1e-6)
    assert atoms.calc.results["force_spread"].shape == (len(atoms),)
    strained = atoms.copy()
    strained.calc = atoms.calc
    stress = atoms.get_stress(voigt=False)[0, 0]
    ends = []
    for sign in (1, -1):
        cell = np.asarray(atoms.cell) @ np.diag([1 + sign * 1e-5, 1, 1])
        strained.set_cell(cell)
        strained.positions = atoms.positions @ np.diag([1 + sign * 1e-5, 1, 1])
        ends.append(strained.get_potential_energy())
    assert stress == pytest.approx((ends[0] - ends[1]) / 2e-5 / atoms.get_volume(), abs=1e-6)


def test_file_round_trip(tmp_path):
    ensemble = Ensemble(members())
    save_ensemble(tmp_path / "e.pt", calibrated(ensemble, {"scale": 1.7, "ratios": {}}))
    again = load_ensemble(tmp_path / "e.pt", "cpu").to("cpu", torch.float64)
    assert again.scale == 1.7
    single = Ensemble(members()).to("cpu", torch.float32).to("cpu", torch.float64)
    np.testing.assert_allclose(
        again.predict(rock(1)).member_forces_eV_A, single.predict(rock(1)).member_forces_eV_A, atol=1e-12
    )


def test_the_same_ensemble_has_the_same_identity_whenever_it_is_written(tmp_path):
    for name in ("one", "other"):
        save_ensemble(tmp_path / f"{name}.pt", Ensemble(members()))
    assert ensemble_identity(tmp_path / "one.pt") == ensemble_identity(tmp_path / "other.pt")
    save_ensemble(tmp_path / "other.pt", Ensemble(members(seed=5)))
    assert ensemble_identity(tmp_path / "one.pt") != ensemble_identity(tmp_path / "other.pt")


def test_damaged_file_is_named(tmp_path):
    path = tmp_path / "e.pt"
    save_ensemble(path, Ensemble(members()))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"e\.pt"):
        load_ensemble(path, "cpu")


def test_calibration_is_forgotten_when_a_member_changes():
    first = calibrated(Ensemble(members()), {"scale": 2.0, "ratios": {}})
    assert first.scale == 2.0
    kept = Ensemble(first.members, first.calibration)
    assert kept.scale == 2.0
    others = Ensemble([*first.members[:2], *members(3, seed=5)[2:]], first.calibration)
    assert others.scale == 1.0 and others.calibration is None


def gaussian_errors(scale, n=20000, seed=0):
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.1, 1.0, n)
    error = scale * spread / np.sqrt(3) * rng.standard_normal(n)
    return pd.DataFrame({"set": "test", "reference_eV_A": 0.0, "predicted_eV_A": error, "spread_eV_A": spread})


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_calibration_recovers_a_known_scale(scale):
    record = calibration_of(gaussian_errors(scale))
    assert record["scale"] == pytest.approx(scale, rel=0.03)
    assert record["miscalibration_area"] < 0.01
    np.testing.assert_allclose(record["spread_eV_A"], record["rmse_eV_A"], rtol=0.1)


def test_miscalibration_is_seen():
    assert calibration_of(gaussian_errors(3.0), scale=1.0)["miscalibration_area"] > 0.15


def test_test_set_is_judged_by_the_validation_scale():
    validation = gaussian_errors(1.0).assign(set="validation")
    forces = pd.concat([validation, gaussian_errors(2.0)])
    evaluation = EnsembleErrors(forces, pd.DataFrame({"set": []}), pd.DataFrame())
    record = calibrate(evaluation)
    assert record["scale"] == pytest.approx(1.0, rel=0.03)
    assert record["test"]["scale"] == record["scale"]
    assert record["test"]["miscalibration_area"] > 0.1


def test_evaluation_against_sums_by_hand():
    ensemble = Ensemble(members())
    frames = [spring_label(rock(seed), set=name) for seed, name in ((1, "train"), (2, "test"), (3, "test"))]
    evaluation = evaluate(ensemble, frames)
    errors = [ensemble.predict(frame).forces_eV_A - frame.calc.results["forces"] for frame in frames[1:]]
    row = evaluation.member_errors.query("set == 'test' and member == -1").iloc[0]
    assert row["force_mae_eV_A"] == pytest.approx(np.abs(errors).mean())
    assert row["force_rmse_eV_A"] == pytest.approx(np.sqrt(np.square(errors).mean()))
    assert row["n_frames"] == 2
    for frame, by_frame in zip(frames[1:], evaluation.energies.query("set == 'test'").to_dict("records"), strict=True):
        prediction = ensemble.predict(frame)
        lengths = np.sqrt(((prediction.forces_eV_A - frame.calc.results["forces"]) ** 2).sum(axis=1))
        assert by_frame["force_error_max_eV_A"] == pytest.approx(max(lengths))
        assert by_frame["force_error_mean_eV_A"] == pytest.approx(sum(lengths) / len(lengths))
        assert by_frame["force_spread_max_eV_A"] == pytest.approx(max(prediction.force_spread_eV_A))
    assert len(evaluation.forces) == 3 * sum(map(len, frames))
