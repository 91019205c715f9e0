"""The ensemble in compiled code: the energies and forces of `redoxmd.model.painn`, each member on one core.

The results are those of the plain path, with forces equal within 1e-5 (tested). Each pair is stored once for both
directions.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ase import Atoms

from redoxmd.model.fast.build import kernels
from redoxmd.model.fast.packing import Packing
from redoxmd.model.neighbours import Pairs
from redoxmd.model.painn import Painn
from redoxmd.model.repulsion import COULOMB_EV_A, RATES, WEIGHTS

BOX_A = 3.0
MORTON_BITS = 10


@dataclass(frozen=True)
class HalfPairs:
    """Pairs of a Verlet list, each pair of atoms once, atoms that are close in space close in memory.

    Attributes:
        order: (n,) atom of each rank in memory.
        first, second: (P,) ranks of atoms a and b, a before b.
        offset_A: (P, 3) lattice vector of b's image: the pair vector is r_b − r_a + offset.
    """

    order: np.ndarray
    first: np.ndarray
    second: np.ndarray
    offset_A: np.ndarray

    @classmethod
    def of(cls, pairs: Pairs, atoms: Atoms) -> HalfPairs:
        """The half of a list of directed pairs; `atoms` says where they are."""
        order = _along_a_curve(atoms)
        rank = np.empty(len(atoms), dtype=np.int64)
        rank[order] = np.arange(len(atoms))
        first, second = rank[pairs.receiver], rank[pairs.sender]
        x, y, z = pairs.shift.T
        # Of an atom and its own image, the image on one side.
        positive = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
        half = np.nonzero((first < second) | ((first == second) & positive))[0]
        half = half[np.lexsort((second[half], first[half]))]
        offset = np.ascontiguousarray(pairs.shift[half] @ np.asarray(atoms.cell))
        return cls(order, first[half].astype(np.int32), second[half].astype(np.int32), offset)


def _along_a_curve(atoms: Atoms) -> np.ndarray:
    """Atoms in Morton order of boxes of about BOX_A, so that the data of an atom's pairs stay in the cache."""
    lengths = np.maximum(np.asarray(atoms.cell.lengths()), 1.0)
    fractional = np.linalg.solve(atoms.cell.complete().T, atoms.positions.T).T
    boxes = np.clip(
        ((fractional - np.floor(fractional)) * np.ceil(lengths / BOX_A)).astype(np.int64), 0, 2**MORTON_BITS - 1
    )
    code = np.zeros(len(atoms), dtype=np.int64)
    for bit in range(MORTON_BITS):
        for axis in range(3):
            code |= ((boxes[:, axis] >> bit) & 1) << (3 * bit + axis)
    order: np.ndarray = np.argsort(code, kind="stable")
    return order


@dataclass
class _Geometry:
    """Pairs within the cutoff at some positions: the first `count` of every array; made once, filled at every step."""

    count: int
    first: np.ndarray
    second: np.ndarray
    vectors_A: np.ndarray
    distances_A: np.ndarray
    unit: np.ndarray
    basis: np.ndarray
    slope: np.ndarray

    @classmethod
    def room(cls, candidates: int, functions: int) -> _Geometry:
        """Arrays for so many pairs."""
        integers = [np.empty(candidates, dtype=np.int32) for _ in range(2)]
        doubles = [np.empty((candidates, 3)), np.empty(candidates)]
        singles = [np.empty((candidates, width), dtype=np.float32) for width in (3, functions, functions)]
        return cls(0, *integers, *doubles, *singles)


def applies(members: Sequence[Painn]) -> bool:
    """Whether members can be evaluated here: single precision, on the CPU, with compiled kernels."""
    plain = all(member.device.type == "cpu" and member.dtype == torch.float32 for member in members)
    return plain and kernels() is not None


class FastMembers:
    """Members packed for the kernels; a member that changes afterwards must be packed again.

    Members run side by side, on as many threads as torch is given, the costly ones first.
    """

    def __init__(self, members: Sequence[Painn]) -> None:
        library = kernels()
        if library is None:
            raise RuntimeError("no compiled kernels: ask `applies` first")
        self._library = library
        self.members = list(members)
        self._packed = [_Packed(library, member) for member in members]
        self._order = sorted(range(len(members)), key=lambda number: -self._packed[number].cost)
        core = members[0].core
        self._core_of_species = None if core is None else (core.charges, core.shrinking_per_A, core.reach_A)
        self._screening = np.array(WEIGHTS), np.array(RATES)
        self._geometry = _Geometry.room(0, members[0].radial.size)
        self._pools: dict[int, ThreadPoolExecutor] = {}

    def evaluate(
        self, species: np.ndarray, pairs: HalfPairs, positions_A: np.ndarray, by_species: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Energies (M,) eV without the references, forces (M, n, 3) eV/Å, virials (M, 3, 3) eV, gradient by species.

        Args:
            species: (n,) index into the members' elements.
            pairs: all within the cutoff at least.
            positions_A: (n, 3), as unwrapped as the pairs were when they were found.
            by_species: whether the last result is ∂E/∂w (M, n, S) by the weights of the species of each atom
                (`Representation.first_scalars`), without references; otherwise it is None.
        """
        geometry = self._measure(pairs, positions_A[pairs.order])
        kinds = np.ascontiguousarray(species[pairs.order], dtype=np.int32)
        results = self._of_all(lambda packed: packed.evaluate(kinds, geometry, by_species))
        energies, in_order, virials, gradients = (np.array(values) for values in zip(*results, strict=True))
        core_energy, core_forces, core_virial = self._repulsion(kinds, geometry)
        forces = np.empty_like(in_order)
        forces[:, pairs.order] = in_order + core_forces
        if by_species:
            gradients[:, pairs.order] = gradients.copy()
        return energies + core_energy, forces, virials + core_virial, gradients if by_species else None

    def energies(self, states: np.ndarray, pairs: HalfPairs, positions_A: np.ndarray) -> np.ndarray:
        """Energies (M, k) eV without the references, equal to those of `evaluate` bit for bit, of species (k, n)."""
        geometry = self._measure(pairs, positions_A[pairs.order])
        kinds = np.ascontiguousarray(states[:, pairs.order], dtype=np.int32)
        values = self._of_all(lambda packed: [packed.energy(state, geometry) for state in kinds])
        core = [self._repulsion(state, geometry)[0] for state in kinds]
        return np.array(values).reshape(len(self.members), len(states)) + np.array(core)

    def _of_all(self, function: Callable[[_Packed], Any]) -> list[Any]:
        """Results of all members, which run side by side."""
        threads = min(torch.get_num_threads(), len(self._packed))
        if threads < 2:
            return [function(packed) for packed in self._packed]
        if threads not in self._pools:
            self._pools[threads] = ThreadPoolExecutor(threads)
        jobs = {number: self._pools[threads].submit(function, self._packed[number]) for number in self._order}
        return [jobs[number].result() for number in range(len(self._packed))]

    def _measure(self, pairs: HalfPairs, positions_A: np.ndarray) -> _Geometry:
        size, member = len(pairs.first), self.members[0]
        if len(self._geometry.first) < size:
            self._geometry = _Geometry.room(size, member.radial.size)
        g = self._geometry
        g.count = self._library.redoxmd_geometry(
            size,
            *map(_pointer, (pairs.first, pairs.second, pairs.offset_A)),
            _pointer(np.ascontiguousarray(positions_A, dtype=np.float64)),
            ctypes.c_double(member.cutoff_A),
            member.radial.size,
            *map(_pointer, (g.first, g.second, g.vectors_A, g.distances_A, g.unit, g.basis, g.slope)),
        )
        return g

    def _repulsion(self, species: np.ndarray, geometry: _Geometry) -> tuple[float, np.ndarray, np.ndarray]:
        """Energy, forces and virial of the core repulsion; most steps have no pair that close."""
        forces, virial = np.zeros((len(species), 3)), np.zeros((3, 3))
        if self._core_of_species is None:
            return 0.0, forces, virial
        g = geometry
        # Held by name until the call returns: a pointer alone keeps no array.
        of_atoms = [values[species] for values in self._core_of_species]
        energy = self._library.redoxmd_repulsion(
            len(species),
            g.count,
            *map(_pointer, (g.first, g.second, g.vectors_A, g.distances_A)),
            *map(_pointer, of_atoms),
            ctypes.c_double(COULOMB_EV_A),
            len(WEIGHTS),
            *map(_pointer, (*self._screening, forces, virial)),
        )
        return energy, forces, virial


class _Packed:
    """One member in the kernels' memory."""

    def __init__(self, library: ctypes.CDLL, member: Painn) -> None:
        packing = Packing(member, library.redoxmd_vector_width())
        self._library = library
        self.cost = packing.layers * packing.features**2
        self._n_species = len(member.elements)
        handle = library.redoxmd_member(
            packing.features,
            packing.hidden,
            packing.layers,
            member.radial.size,
            len(member.elements),
            ctypes.c_float(member.scale_eV.item()),
            ctypes.c_float(packing.bias_eV),
            _pointer(packing.weights),
            ctypes.c_size_t(len(packing.weights)),
        )
        if not handle:
            raise MemoryError("no memory for the weights of a member")
        self._handle = ctypes.c_void_p(handle)
        weakref.finalize(self, library.redoxmd_member_free, self._handle)

    def energy(self, species: np.ndarray, geometry: _Geometry) -> float:
        """Energy of this member."""
        return self._call(species, geometry, None, None)

    def evaluate(
        self, species: np.ndarray, geometry: _Geometry, by_species: bool
    ) -> tuple[float, np.ndarray, np.ndarray, np.ndarray | None]:
        """Energy, forces, virial and, if asked for, gradient by species of this member."""
        g = geometry
        gradients = np.empty((g.count, 4), dtype=np.float32)
        weights = np.empty((len(species), self._n_species), dtype=np.float32) if by_species else None
        energy = self._call(species, g, gradients, weights)
        forces, virial = np.empty((len(species), 3)), np.empty((3, 3))
        self._library.redoxmd_forces(
            len(species),
            g.count,
            *map(_pointer, (g.first, g.second, g.vectors_A, g.distances_A, gradients, forces, virial)),
        )
        return energy, forces, 0.5 * (virial + virial.T), weights

    def _call(
        self, species: np.ndarray, g: _Geometry, gradients: np.ndarray | None, by_species: np.ndarray | None
    ) -> float:
        energy = ctypes.c_double()
        done = self._library.redoxmd_evaluate(
            self._handle,
            len(species),
            _pointer(species),
            g.count,
            *map(_pointer, (g.first, g.second, g.unit, g.basis, g.slope)),
            ctypes.byref(energy),
            *(None if array is None else _pointer(array) for array in (gradients, by_species)),
        )
        if not done:
            raise MemoryError("no memory for the states of the atoms")
        return energy.value


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
