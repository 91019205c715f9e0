"""Labels in a clean electronic state: several starts of the electrons, until a label is accepted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

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
        have the initial moments of the charge order `previous`, if it is given, and then of orders drawn at random; the
        array `oxidation` of `atoms` is then that order. No order is started twice: it would end the same.

        Args:
            engine: of the label.
            atoms: structure; its initial moments and array `oxidation` are replaced for further starts.
            step: in the run, from which the drawn orders follow.
            previous: (n,) oxidation states of the frame before, or asked for.

        Raises:
            LabelRefused: of the last start; its detail has the number of starts.
        """
        rng, symbols = derive_rng(self.seed, "order", step), list(atoms.symbols)
        # The first frame of a run starts from the initial moments; the same moments again would give the same.
        tried = [atoms.arrays["oxidation"].copy()] if step == 0 and "oxidation" in atoms.arrays else []
        drawn = (draw_order(symbols, self.levels, rng) for _ in range(DRAWS * self.tries))
        orders = chain([] if previous is None else [previous], drawn)
        untried = (order for order in orders if not any(np.array_equal(order, started) for started in tried))
        for number in range(1, self.tries + 1):
            try:
                return self.judge(engine.calculate(atoms), atoms)
            except LabelRefused as refused:
                may_help = refused.reason in OTHER_START and number < self.tries
                order = next(untried, None) if may_help else None
                if order is None:
                    detail = f"{refused.detail} (start {number} of {self.tries})" if number > 1 else refused.detail
                    raise LabelRefused(refused.reason, detail) from refused
                logger.warning("step %d, start %d of %d of the electrons: %s", step, number, self.tries, refused)
            tried.append(order)
            atoms.set_initial_magnetic_moments(
                self.levels.initial_moments(symbols, order, atoms.get_initial_magnetic_moments())
            )
            atoms.set_array("oxidation", order)
            engine.forget()
        raise AssertionError("tries is at least one")

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
        return replace(
            result, oxidation=judge_state(list(atoms.symbols), moments, total, self.levels, strict=False).oxidation
        )


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
