import numpy as np
import pytest
import torch
from scipy.stats import kstest

from redoxmd.md.batched.noise import noise_key, normals, philox


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_published_words(counter, key, expected):
    """Known answers of Random123, the authors' own library."""
    assert philox(torch.tensor(counter), torch.tensor(key)).tolist() == expected


def many(steps, atoms=64, trajectories=8):
    key = torch.tensor([noise_key(np.random.default_rng(seed)) for seed in range(trajectories)])
    return torch.stack([normals(key, torch.full((trajectories,), step), atoms) for step in range(steps)])


def test_deviates_are_normal():
    sample = many(100).flatten().numpy()
    assert kstest(sample, "norm").pvalue > 0.01
    assert np.isfinite(sample).all()


def test_deviates_of_axes_atoms_steps_and_trajectories_are_independent():
    sample = many(400).numpy()
    error = 5 / np.sqrt(sample[..., 0].size)
    for one, other in (
        (sample[..., 0], sample[..., 1]),
        (sample[..., 0], sample[..., 2]),
        (sample[..., 0] ** 2 - 1, sample[..., 2] ** 2 - 1),
        (sample[:-1], sample[1:]),
        (sample[:, :-1], sample[:, 1:]),
        (sample[:, :, :-1], sample[:, :, 1:]),
    ):
        assert abs(float((one * other).mean())) < 2 * error


def test_deviates_depend_on_trajectory_step_and_atom_alone():
    key = torch.tensor([noise_key(np.random.default_rng(seed)) for seed in range(3)])
    step = torch.tensor([5, 2**33 + 1, 7])
    whole = normals(key, step, 12)
    alone = normals(key[1:2], step[1:2], 7)
    assert torch.equal(alone[0], whole[1, :7])
    assert not torch.equal(normals(key[1:2], torch.tensor([1]), 7), alone)


def test_the_key_leaves_the_generator_as_it_is():
    rng = np.random.default_rng(3)
    first = noise_key(rng)
    assert noise_key(rng) == first
    rng.standard_normal()
    assert noise_key(rng) != first
