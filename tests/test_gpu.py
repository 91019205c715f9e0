import numpy as np
import pytest
import torch

from redoxmd.density.predict import predict_density
from redoxmd.ensemble_md import EnsembleMD
from redoxmd.md import Langevin
from redoxmd.model.ensemble import Ensemble
from redoxmd.uncertainty import GateSettings
from tests.conftest import rock
from tests.density.test_network import random_model
from tests.test_ensemble import members

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
SINGLE = 1e-5  # relative: single precision, other order of summation


@pytest.mark.parametrize("repeat", [1, 3])
def test_gpu_equals_cpu(repeat):
    atoms = rock(1).repeat((repeat, repeat, 2))
    on_cpu = Ensemble(members(dtype=torch.float64)).predict(atoms)
    on_gpu = Ensemble(members(dtype=torch.float32)).to("cuda").predict(atoms)
    size = np.abs(on_cpu.member_forces_eV_A).max()
    np.testing.assert_allclose(on_gpu.member_forces_eV_A, on_cpu.member_forces_eV_A, atol=SINGLE * size)
    np.testing.assert_allclose(on_gpu.energies_eV, on_cpu.energies_eV, rtol=SINGLE, atol=1e-4)


def test_md_on_the_gpu_follows_the_cpu():
    atoms = rock(2, rattle_A=0.02).repeat((2, 2, 2))
    paths = []
    for device in ("cpu", "cuda"):
        ensemble = Ensemble(members(dtype=torch.float32)).to(device)
        md = EnsembleMD(
            ensemble, atoms, Langevin(atoms.get_masses(), 0.5, 300.0, 0.01), GateSettings(1e3, 2e3, "max", 0.1, 100.0)
        )
        md.start(np.random.default_rng(0))
        for _ in range(20):
            md.step()
        paths.append(md.state.positions_A)
    np.testing.assert_allclose(paths[1], paths[0], atol=1e-5)


def test_densities_on_the_gpu_equal_those_on_the_cpu():
    atoms = rock(3).repeat((2, 1, 1))
    results = []
    for device in ("cpu", "cuda"):
        model = random_model(2)
        model.network.float().to(device)
        results.append(predict_density(model, atoms, (24, 22, 20)))
    for name in ("total_e_A3", "spin_e_A3"):
        on_cpu, on_gpu = (getattr(result, name) for result in results)
        np.testing.assert_allclose(on_gpu, on_cpu, atol=SINGLE * np.abs(on_cpu).max())
