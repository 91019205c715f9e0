"""Labels in a clean electronic state: several starts of the electrons, until a label is accepted."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from redoxmd.electrons.states import OxidationLevels, judge_state
from redoxmd.engines.base import Engine, Result
from redoxmd.errors import LabelRefusal, LabelRefused
from redoxmd.seeds import derive_rng
from redoxmd.structures.periodic_cell import PeriodicCell

logger = logging.getLogger("redoxmd")

# Refusals after which another start of the electrons may help.
OTHER_START = (LabelRefusal.WRONG_ELECTRONIC_STATE, LabelRefusal.WRONG_MOMENT, LabelRefusal.UNCONVERGED)
BOND_SOFTNESS_A = 0.37
# Orders drawn per start until one was not tried yet; if there is none, the search ends.
DRAWS = 20


@dataclass(frozen=True)
class StateSearch:
    """Search for an accepted label of a structure.

    Attributes:
        levels: oxidation states of the redox elements.
        tries: largest number of starts of the electrons for one structure.
        seed: of the drawn charge orders.
    """

    levels: OxidationLevels
    tries: int
    seed: int

    def label(self, engine: Engine, atoms: Atoms, step: int, previous: np.ndarray | None) -> Result:
        """Label of a structure, with its oxidation states.

        The first start is the engine's own: the previous electrons, or the initial moments of `atoms`. Further starts
        have the initial moments of the charge order `previous`, if it is given, with a first SCF without +U if the
        engine has that (`Engine.forget`), and then of orders drawn at random; the array `oxidation` of `atoms` is then
        that order. No order is started twice in the same way, because it would end the same: the order from which the
        first frame of a run started is started again with the first SCF that it did not have.

        Args:
            engine: of the label.
            atoms: structure; its initial moments and array `oxidation` are replaced for further starts.
            step: in the run, from which the drawn orders follow.
            previous: (n,) oxidation states of the frame before, or asked for.

        Raises:
            LabelRefused: of the last start; its detail has the number of starts.
        """
        starts = self._further_starts(engine, atoms, step, previous)
        for number in range(1, self.tries + 1):
            try:
                return self.judge(engine.calculate(atoms), atoms)
            except LabelRefused as refused:
                may_help = refused.reason in OTHER_START and number < self.tries
                start = next(starts, None) if may_help else None
                if start is None:
                    detail = f"{refused.detail} (start {number} of {self.tries})" if number > 1 else refused.detail
                    raise LabelRefused(refused.reason, detail) from refused
                logger.warning("step %d, start %d of %d of the electrons: %s", step, number, self.tries, refused)
            order, without_hubbard = start
            self.levels.start_in(atoms, order)
            engine.forget(without_hubbard)
        raise AssertionError("tries is at least one")

    def _further_starts(
        self, engine: Engine, atoms: Atoms, step: int, previous: np.ndarray | None
    ) -> Iterator[tuple[np.ndarray, bool]]:
        """Charge orders that were not tried yet, and whether the first SCF is without +U."""
        rng, symbols = derive_rng(self.seed, "order", step), list(atoms.symbols)
        # The first frame of a run starts from the initial moments; the same moments again would give the same.
        tried = [atoms.arrays["oxidation"].copy()] if step == 0 and "oxidation" in atoms.arrays else []

        def untried(order: np.ndarray) -> bool:
            return not any(np.array_equal(order, started) for started in tried)

        if previous is not None and untried(previous):
            tried.append(previous)
            yield previous, engine.can_start_without_hubbard
        elif engine.can_start_without_hubbard and tried:
            yield tried[-1], not engine.starts_without_hubbard
        for _ in range(DRAWS * self.tries):
            order = draw_order(symbols, self.levels, rng)
            if untried(order):
                tried.append(order)
                yield order, engine.starts_without_hubbard

    def judge(self, result: Result, atoms: Atoms) -> Result:
        """The result with its oxidation states; unchanged without moments.

        A moment between two levels does not end a run: near the ideal crystal an electron is shared, and it becomes
        localised within a few femtoseconds. Such frames are left out of the data set (`redoxmd.train.dataset`).

        Raises:
            LabelRefused: wrong_electronic_state.
        """
        if result.moments_muB is None:
            return result
        moments, total = result.moments_muB, result.total_moment_muB
        assignment = judge_state(list(atoms.symbols), moments, total, self.levels, False, result.orbital_occupations)
        return replace(result, oxidation=assignment.oxidation)


def draw_order(symbols: Sequence[str], levels: OxidationLevels, rng: np.random.Generator) -> np.ndarray:
    """Random neutral assignment (n,) of oxidation states, each as near to the mean of its element as can be.

    Raises:
        StructureError: no assignment is neutral.
    """
    return levels.neutral_order(symbols, rng.normal(size=len(symbols)))


def guess_order(atoms: Atoms, levels: OxidationLevels) -> np.ndarray:
    """Neutral assignment (n,) in which the redox atoms with the shortest bonds to anions have the highest numbers.

    Bonds are compared by their valence Σ exp(−d/0.37 Å) (Brown and Altermatt, 1985), which needs no parameter to rank
    atoms of one element. Anions are the elements with a negative number in `levels.fixed`.

    Raises:
        StructureError: no assignment is neutral.
    """
    symbols = list(atoms.symbols)
    anions = np.flatnonzero([levels.fixed.get(symbol, 0) < 0 for symbol in symbols])
    periodic = PeriodicCell(np.where(atoms.pbc[:, None], atoms.cell.array, 0.0))
    valence = np.zeros(len(atoms))
    for atom in levels.redox_atoms(symbols):
        distances_A = periodic.distances_A(atoms.positions[[atom]], atoms.positions[anions])
        valence[atom] = np.exp(-distances_A / BOND_SOFTNESS_A).sum()
    return levels.neutral_order(symbols, valence)
