"""The path of lowest barrier between two structures: climbing-image NEB with the ensemble."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.mep import NEB
from ase.mep.neb import idpp_interpolate
from ase.optimize import FIRE

from redoxmd.config.sections import Neb
from redoxmd.errors import DataError, PathEnd
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.interrupt import StopRequest
from redoxmd.jobs.progress import Progress
from redoxmd.jobs.resumable import run_resumable
from redoxmd.md.relaxation import relax
from redoxmd.structures.occupation import Occupation

logger = logging.getLogger("redoxmd")

ENDS = ("initial", "final")
# The highest image climbs after the largest force on the band has fallen below this multiple of the tolerance; earlier
# the highest image is far from the saddle point.
LOOSE_FACTOR = 5.0
FIRE_STATE = ("vel", "dt", "a", "Nsteps")
MakeCalculator = Callable[[], Calculator]


class NoPath(DataError):
    """The path does not exist or has not converged.

    Attributes:
        reason: any but converged.
        images: the structures obtained so far, with their calculators: one or both ends, or the band.
    """

    def __init__(self, reason: PathEnd, message: str, images: list[Atoms]) -> None:
        super().__init__(message)
        self.reason, self.images = reason, images


def find_path(
    ends: tuple[Atoms, Atoms],
    occupation: Occupation,
    calculator: MakeCalculator,
    settings: Neb,
    name: str,
    checkpoint: Checkpoint,
    md_positions_A: np.ndarray | None = None,
) -> list[Atoms]:
    """Images of the path of lowest barrier (Henkelman, Uberuaga and Jónsson, 2000; paper, section 3.3).

    Both ends are relaxed. The `images` − 2 structures between them are interpolated along the MD path of the ions if
    its frames are close enough (`interpolate_md_path`), else by the image-dependent pair potential. FIRE then relaxes
    the band with improved tangents, first loosely, then with a climbing highest image, until no force on it exceeds
    the tolerance.

    `checkpoint` stores the ends, the band, their oxidation states and the state of FIRE: a path that was stopped and
    continued gives the same numbers on a CPU as an uninterrupted one. An end whose relaxation was interrupted is
    relaxed again.

    Args:
        ends: both ends, as of `path_ends`.
        occupation: sites of their cell.
        calculator: makes a calculator for an image.
        name: of the path, for messages.
        md_positions_A: (F, n, 3) MD frames between the ends, if these are frames of an MD; ions must then have changed
            their sites. Electrons that follow then start from the arrays `oxidation` of the ends, if they have them,
            and those of the images between from the state of the nearer relaxed end.

    Returns:
        All images, ends included, with their calculators, evaluated.

    Raises:
        NoPath: an end does not relax or leaves its sites, both have the same sites, or the band does not converge.
        Interrupted: SIGTERM; the state is written.
    """
    band = _Band(occupation, calculator, settings, name, checkpoint, md_positions_A)
    if settings.electrons == "frozen" and (changed := _changed_states(ends)):
        logger.warning(
            "neb %s: all images are in the state of the initial end; the final one differs on %s", name, changed
        )

    def search(stop: StopRequest) -> Iterator[str]:
        for end, word in zip(ends, ENDS, strict=True):
            band.images.append(band.relaxed_end(end, word, stop))
        band.start()
        yield f"at step {band.steps} of {name}"
        for _ in band.relax():
            yield f"at step {band.steps} of {name}"

    run_resumable(search, band.save)

    for image in band.images:
        image.get_forces()
    return band.images


def interpolate_md_path(
    ends: list[Atoms], md_positions_A: np.ndarray, moving: np.ndarray, images: int
) -> np.ndarray | None:
    """Positions (images − 2, n, 3) between two ends: moving ions along their MD path, other atoms on straight lines.

    The progress of an event is s = q·d/|d|², where q is the displacement vector of all moving ions from the first end
    and d that of the last end. Frames that do not advance beyond all earlier ones (vibration) are skipped. Returns None
    if two neighbouring images would lie between the same two frames.

    Args:
        ends: relaxed ends.
        md_positions_A: (F, n, 3) frames between them, unwrapped like the ends.
        moving: indices of the ions whose sites differ between the ends.
        images: number of images, ends included.
    """
    first, last = (end.positions for end in ends)
    end_displacement = (last - first)[moving].ravel()
    displacements = (md_positions_A - first)[:, moving].reshape(len(md_positions_A), len(end_displacement))
    progress = displacements @ end_displacement / (end_displacement @ end_displacement)
    advancing = (progress > np.maximum.accumulate(np.concatenate([[0.0], progress[:-1]]))) & (progress < 1)
    path_progress = np.concatenate([[0.0], progress[advancing], [1.0]])
    if np.diff(path_progress).max() > 2 / (images - 1):
        return None
    path = np.concatenate([np.zeros((1, len(end_displacement))), displacements[advancing], end_displacement[None]])
    image_progress = np.linspace(0, 1, images)[1:-1]
    positions = first + image_progress[:, None, None] * (last - first)
    ions = np.stack([np.interp(image_progress, path_progress, column) for column in path.T], axis=1)
    positions[:, moving] = first[moving] + ions.reshape(len(image_progress), -1, 3)
    return positions


class _Band:
    """A band, its ends and its relaxation, with the state of the optimizer.

    Attributes:
        images: the relaxed ends, after `start` all images.
        recorded: whether electrons follow from states that an MD recorded at the ends.
    """

    def __init__(
        self,
        occupation: Occupation,
        calculator: MakeCalculator,
        settings: Neb,
        name: str,
        checkpoint: Checkpoint,
        md_positions_A: np.ndarray | None,
    ) -> None:
        self.occupation, self.calculator, self.settings = occupation, calculator, settings
        self.name, self.checkpoint, self.md_positions_A = name, checkpoint, md_positions_A
        self.images: list[Atoms] = []
        self.climb, self.recorded, self.steps = False, False, 0
        self._fire: dict[str, Any] = {}
        self._optimizer: FIRE

    def relaxed_end(self, end: Atoms, word: str, stop: StopRequest) -> Atoms:
        """An end, relaxed at its sites; `word` is one of `ENDS`."""
        atoms, name, labels = end.copy(), self.name, self.occupation.labels
        follow, state = self.settings.electrons == "follow", end.arrays.get("oxidation")
        if follow or self.images:
            # A given state would hold the electrons.
            atoms.arrays.pop("oxidation", None)
        atoms.calc = self.calculator()
        if follow and self.md_positions_A is not None and state is not None:
            atoms.calc.oxidation, self.recorded = state.copy(), True
        self._freeze(atoms)
        record = self.checkpoint.load(word)
        if record is not None:
            logger.info("neb %s: resuming from the relaxed %s end", name, word)
            atoms.positions = record["positions_A"]
            _restore_states([atoms], record)
            self._freeze(atoms)
            return atoms

        def interrupt() -> None:
            stop.check(f"in the relaxation of the {word} end of {name}", further=word == "final")

        if not relax(atoms, self.settings, interrupt):
            raise NoPath(
                PathEnd.NOT_RELAXED,
                f"neb.paths, {name}: the {word} end did not relax to {self.settings.force_tolerance_eV_A:g} eV/Å in "
                f"{self.settings.max_relax_steps} steps; raise neb.max_relax_steps or look at its sites",
                [*self.images, atoms],
            )
        initial_sites, sites = (self.occupation.sites_of(each.positions) for each in (end, atoms))
        changes = [f"{labels[a]} → {labels[b]}" for a, b in zip(initial_sites, sites, strict=True) if a != b]
        if changes:
            raise NoPath(
                PathEnd.LEFT_ITS_SITE,
                f"neb.paths, {name}: the {word} end is not a minimum of the ensemble, its ions leave their sites "
                f"({', '.join(changes)}); choose other moves",
                [*self.images, atoms],
            )
        self.checkpoint.save(word, {"positions_A": atoms.positions, **_states([atoms])})
        self._freeze(atoms)
        return atoms

    def _freeze(self, atoms: Atoms) -> None:
        """Give a structure the state of the initial end, if electrons are frozen and that end is relaxed."""
        first = self.images[0] if self.images else atoms
        state = getattr(first.calc, "oxidation", None)
        if self.settings.electrons == "frozen" and state is not None:
            atoms.set_array("oxidation", np.array(state))

    def start(self) -> None:
        """Interpolate the images between the relaxed ends or, after a restart, take the saved ones."""
        ends, between_A = self.images, None
        if self.md_positions_A is not None:
            first, last = (self.occupation.sites_of(end.positions) for end in ends)
            if np.array_equal(first, last):
                message = f"neb.paths, {self.name}: both ends relax to the same sites; take another event"
                raise NoPath(PathEnd.SAME_SITES, message, ends)
            moving = self.occupation.ions[first != last]
            between_A = interpolate_md_path(ends, self.md_positions_A, moving, self.settings.images)
        # Copies of the initial end, with its state if electrons are frozen.
        between = [ends[0].copy() for _ in range(self.settings.images - 2)]
        for number, image in enumerate(between, start=1):
            image.calc = self.calculator()
            if self.recorded:
                image.calc.oxidation = ends[2 * number >= self.settings.images].calc.oxidation.copy()
        self.images = [ends[0], *between, ends[1]]
        if between_A is None:
            neb = NEB(self.images, method="improvedtangent")
            neb.interpolate(mic=False)
            # Minimum images enter the distances, not the path.
            idpp_interpolate(neb, traj=None, log=None, mic=True)
        record = self.checkpoint.load("band")
        if record is not None:
            between_A = record["positions_A"]
            self.climb, self.steps = bool(record["climb"]), int(record["steps"])
            self._fire = {key: record[key] for key in FIRE_STATE if record["vel"].size}
            _restore_states(between, record)
        if between_A is not None:
            for image, positions in zip(between, between_A, strict=True):
                image.positions = positions

    def relax(self) -> Iterator[None]:
        """Relax without, then with the climbing image, skipping finished stages; yields before every step."""
        progress = Progress(f"neb {self.name}", self.settings.max_band_steps, done=self.steps)
        for climb in (False, True):
            if climb < self.climb:
                continue
            if climb > self.climb:
                self.climb, self._fire = climb, {}
            for force_eV_A in self._iterate():
                progress.update(self.steps, f"largest force {force_eV_A:.3f} eV/Å")
                yield
        logger.info("neb %s: converged after %d steps", self.name, self.steps)

    def _iterate(self) -> Iterator[float]:
        """Run FIRE to the tolerance of the stage; yields the largest force before every further step."""
        tolerance = self.settings.force_tolerance_eV_A * (1.0 if self.climb else LOOSE_FACTOR)
        neb = NEB(self.images, k=self.settings.spring_eV_A2, climb=self.climb, method="improvedtangent")
        self._optimizer = FIRE(neb, logfile=None)
        for key, value in self._fire.items():
            setattr(self._optimizer, key, value if key == "vel" else value.item())
        first_step = self.steps
        steps_left = self.settings.max_band_steps - first_step
        for converged in self._optimizer.irun(fmax=tolerance, steps=steps_left):
            self.steps = first_step + self._optimizer.nsteps
            force_eV_A = float(np.linalg.norm(neb.get_forces(), axis=1).max())
            if converged:
                return
            if not np.isfinite(force_eV_A):
                raise NoPath(
                    PathEnd.NOT_FINITE,
                    f"neb.paths, {self.name}: a force on the band is NaN or infinite; check the moves of the path",
                    self.images,
                )
            yield force_eV_A
        self.save()
        energies = ", ".join(f"{energy:.2f}" for energy in neb.energies - neb.energies[0])
        raise NoPath(
            PathEnd.NOT_CONVERGED,
            f"neb.paths, {self.name}: after {self.steps} steps a force of {force_eV_A:.3g} eV/Å is left on the band; "
            "raise neb.max_band_steps, which continues it, or split a path that runs through intermediate minima "
            f"(energies along it: {energies} eV)",
            self.images,
        )

    def save(self) -> None:
        """Write positions and the optimizer's state, which is empty before its first step."""
        optimizer = self._optimizer
        state = {key: getattr(optimizer, key) for key in FIRE_STATE}
        if state["vel"] is None:
            state["vel"] = np.zeros(0)
        between = self.images[1:-1]
        positions = np.array([image.positions for image in between])
        record = {"positions_A": positions, "climb": self.climb, "steps": self.steps, **state, **_states(between)}
        self.checkpoint.save("band", record)


def _changed_states(ends: tuple[Atoms, Atoms]) -> str:
    """The atoms whose given oxidation states differ between both ends ("V 28, V 30"); "" without any."""
    states = [end.arrays.get("oxidation") for end in ends]
    if states[0] is None or states[1] is None:
        return ""
    return ", ".join(f"{ends[0].symbols[atom]} {atom}" for atom in np.flatnonzero(states[0] != states[1]))


def _states(images: list[Atoms]) -> dict[str, np.ndarray]:
    """Present oxidation states (k, n) of the images, as `oxidation`; {} if the calculators have none."""
    states = [image.calc.results.get("oxidation") for image in images]
    return {} if any(state is None for state in states) else {"oxidation": np.array(states)}


def _restore_states(images: list[Atoms], record: dict[str, Any]) -> None:
    """Give the calculators the oxidation states of a record, if it has any."""
    if "oxidation" in record:
        for image, state in zip(images, record["oxidation"], strict=True):
            image.calc.oxidation = state
