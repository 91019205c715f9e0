"""The MD step by kernels, on the host: against the step by operations of torch, all buffers after every step."""

import numpy as np
import torch

from redoxmd.arrays import Arrays
from redoxmd.md.forces import MemberForces
from redoxmd.md.frame_gate import GUARD_REASONS, GateSettings
from redoxmd.md.fused.kernels import STEP
from redoxmd.md.fused.step import FusedStep
from redoxmd.md.langevin import Langevin
from redoxmd.md.slots import Slots
from redoxmd.md.step import BatchStep, Log
from tests.conftest import rock
from tests.md.fused.host import HostKernels

PLACES, STEPS, FRAMES = 150, 6, 4
OPEN = GateSettings(1e3, 1e4, "max", 0.01, 1e9)
# Thermostat or none, spread by mean or maximum; a slot for each way to end, to wait or to be empty.
TENANTS = [
    (0.0, OPEN),
    (0.02, GateSettings(1e3, 1e4, "mean", 0.01, 1e9)),
    (0.02, GateSettings(1e-3, 1e-2, "max", 0.01, 1e9)),
    (0.02, GateSettings(1e3, 1e4, "max", 0.01, 0.5)),
    (0.02, GateSettings(1e3, 1e4, "max", 0.99, 1e9)),
    (0.02, OPEN),
    (0.02, OPEN),
    (0.02, OPEN),
]
NOT_FINITE, FAR, ELECTRONS, EMPTY = 5, 6, 7, 8


class GivenForces:
    """Forces of three members that depend on the positions, of which one is no number in one slot."""

    n_members, skin_A, searches_during_steps = 3, 0.5, False

    def __call__(self, positions_A, species):
        wave = torch.stack([torch.sin((m + 1) * positions_A) + 0.3 * species[..., None] for m in range(3)])
        wave[1, NOT_FINITE, 2, 1] = float("nan")
        contact = 0.5 + 0.1 * torch.cos(positions_A[:, 0, 0])
        return MemberForces(wave.sum(dim=(2, 3)), wave, contact)


def filled(kind):
    slots = Slots(len(TENANTS) + 1, PLACES, Arrays(torch.device("cpu")))
    for slot, (friction, gate) in enumerate(TENANTS):
        atoms = rock(slot).repeat((1 + slot % 2 * 17, 1, 1))
        langevin = Langevin(atoms.get_masses(), 1.5, 300.0, friction)
        slots.put(slot, atoms, np.arange(len(atoms)) % 4, langevin, gate)
        still = np.zeros_like(atoms.positions)
        state = langevin.start(atoms.positions, still, np.random.default_rng(slot))
        state.step = 2**33 + slot
        slots.place(slot, state, atoms.positions)
        slots.searched_A[slot, : len(atoms)] = torch.from_numpy(atoms.positions)
        slots.outdated[slot] = False
    slots.velocities_A_fs[FAR, 3, 2] = 0.06
    slots.move_every[ELECTRONS] = 5
    log = Log(FRAMES, slots)
    return kind(slots, GivenForces(), log, lambda: None), slots, log


def test_every_buffer_is_that_of_the_plain_step():
    (plain, slots, log), (fused, ours, our_log) = (
        filled(BatchStep),
        filled(lambda *given: FusedStep(*given, HostKernels(STEP, dtype=torch.float64))),
    )
    guards = set()
    for _ in range(STEPS):
        plain()
        fused()
        buffers = [(getattr(slots, name), getattr(ours, name)) for name in vars(slots)]
        buffers += [(getattr(log, name), getattr(our_log, name)) for name in vars(log) if name != "_row"]
        for expected, found in buffers:
            if isinstance(expected, torch.Tensor):
                torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12, equal_nan=True)
        guards |= {GUARD_REASONS[int(code)] for code in log.results[..., 5].flatten().tolist()}
    assert guards == set(GUARD_REASONS)
    assert slots.active.tolist() == [True, True, False, False, False, False, True, True, False]
    assert slots.outdated.nonzero().flatten().tolist() == [FAR]
    made = slots.step - torch.tensor([*(2**33 + slot for slot in range(len(TENANTS))), 0])
    assert made[:2].tolist() == [STEPS, STEPS] and 0 < made[FAR] < STEPS and made[EMPTY] == 0
    # The electrons are due at a multiple of five.
    assert made[ELECTRONS] == -(2**33 + ELECTRONS) % 5
