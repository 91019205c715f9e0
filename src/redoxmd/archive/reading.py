"""One calculation: opened, its frames judged one by one and, for a run, against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from redoxmd.archive.ase_files import read_ase
from redoxmd.archive.sources import Source
from redoxmd.electrons.states import OxidationLevels, judge_state
from redoxmd.engines.base import Result
from redoxmd.engines.calculation import NONCOLLINEAR, Calculation, ReadFrame
from redoxmd.engines.vasp.outcar import SpinStep, read_spins
from redoxmd.engines.vasp.vasprun import is_md, read_vasprun
from redoxmd.engines.verdict import judge_frame
from redoxmd.errors import ConfigError, LabelRefusal, LabelRefused, StructureError
from redoxmd.structures.periodic_cell import SAME_POSITION_A, misplacements_A

# Frames of a run held at once; each is judged with at least MARGIN on both sides, where the run has them.
WINDOW = 256
MARGIN = 4
SAME_ENERGY_eV = 1e-3


@dataclass(frozen=True)
class FrameChecks:
    """Requirements on every frame.

    Attributes:
        force_ceiling_eV_A: largest allowed force component.
        initial_moments: atoms → moments (n,), μB, whose sum the total moment must be; None: no spin state is required.
        levels: states of the redox elements, in which frames with moments must be neutral; None: states are neither
            assigned nor judged.
    """

    force_ceiling_eV_A: float
    initial_moments: Callable[[Atoms], np.ndarray] | None = None
    levels: OxidationLevels | None = None


@dataclass(frozen=True)
class FrameVerdict:
    """A frame and its verdict.

    Attributes:
        frame: None where the file stops making sense.
        result: None when refused.
        refusal: None when accepted.
        spin_judged: False where a spin state was asked for and the file gives no moments.
        state_judged: False where oxidation states were to be judged and the file gives no local moments.
        md: whether the frame is a step of MD, so that its neighbours in the file are those in time.
    """

    frame: ReadFrame | None
    result: Result | None = None
    refusal: LabelRefused | None = None
    spin_judged: bool = True
    state_judged: bool = True
    md: bool = True


def open_calculation(source: Source) -> Calculation:
    """The calculation of a source: its level of theory, and its frames, which are read on iteration.

    Raises:
        LabelRefused: with the reader's reason; corrupted for any other error.
    """
    try:
        return read_vasprun(source.path) if source.kind == "vasprun" else read_ase(source.path, source.kind)
    except Exception as error:
        raise _as_refusal(error, source.path) from error


def _as_refusal(error: Exception, path: Path) -> LabelRefused:
    """An unexpected error of a reader as a refusal, so that a damaged file never ends the import."""
    if isinstance(error, LabelRefused):
        return error
    if isinstance(error, MemoryError):
        # That says nothing about the file.
        raise error
    reason = LabelRefusal.UNFINISHED if isinstance(error, EOFError) else LabelRefusal.CORRUPTED
    return LabelRefused(reason, f"{path}: {type(error).__name__}: {error}")


def read_calculation(calculation: Calculation, source: Source) -> Iterator[ReadFrame | LabelRefused]:
    """Every frame, with the moments of the OUTCAR if there is one; a refusal in the place where the file breaks off."""
    try:
        yield from calculation.frames if source.outcar is None else _with_moments(calculation, source.outcar)
    except Exception as error:
        yield _as_refusal(error, source.path)


def judge_calculation(
    source: Source, settings_hash: str, checks: FrameChecks, notes: Counter[str]
) -> Iterator[FrameVerdict]:
    """Every frame with its verdict, in the order of the file; a last one without a frame where the file breaks off.

    Args:
        source: the calculation.
        settings_hash: of its group; a frame that itself says another is refused.
        checks: on every frame.
        notes: collects omissions and assumptions, one sentence each, with the number of frames.
    """
    try:
        calculation = open_calculation(source)
        md = source.is_run and is_md(calculation.settings)
    except Exception as error:
        yield FrameVerdict(None, refusal=_as_refusal(error, source.path))
        return

    frames = read_calculation(calculation, source)
    judged = (replace(_judge(frame, settings_hash, checks), md=md) for frame in frames)
    yield from check_windows(judged) if md else (item for one in judged for item in check_together([one]))
    notes.update(calculation.notes)


def _with_moments(calculation: Calculation, outcar: Path) -> Iterator[ReadFrame]:
    """Frames with the moments of the OUTCAR beside their vasprun.xml; frames without are counted in the notes.

    Both files are read in parallel. A step of the OUTCAR belongs to a frame with the same energy and positions; steps
    that VASP's own force field predicted are in the vasprun.xml only, and without moments.
    """
    stated = True
    missing = f"{outcar.name} ends before the vasprun.xml does: no moments of the steps behind its end"

    def complete_steps() -> Iterator[SpinStep]:
        nonlocal stated, missing
        try:
            for step in read_spins(outcar):
                stated = step.moments_muB is not None or step.total_moment_muB is not None
                if step.energy_eV is not None:
                    yield step
        except Exception as error:
            missing = f"no moments from where {outcar.name} cannot be read ({_as_refusal(error, outcar)})"
            stated = True

    steps = complete_steps()
    step = next(steps, None)
    for frame in calculation.frames:
        if calculation.settings.get("LNONCOLLINEAR") is True:
            calculation.notes[NONCOLLINEAR] += 1
        elif step is not None and _is_same_step(frame, step):
            frame = replace(
                frame,
                moments_muB=step.moments_muB,
                total_moment_muB=step.total_moment_muB,
                orbital_occupations=step.occupation_columns(len(frame.atoms)),
            )
            step = next(steps, None)
        elif stated and frame.scf_steps:
            other = f"moments of {outcar.name} left out: energy or positions there are of another calculation"
            calculation.notes[missing if step is None else other] += 1
        yield frame


def _is_same_step(frame: ReadFrame, step: SpinStep) -> bool:
    """Whether a step of an OUTCAR has the frame's energy to 1 meV and its positions to 1e-4 Å."""
    if step.energy_eV is None or not abs(frame.energy_eV - step.energy_eV) <= SAME_ENERGY_eV:
        return False
    if step.positions_A is None or step.positions_A.shape != frame.atoms.positions.shape:
        return False
    return bool((misplacements_A(step.positions_A, frame.atoms) <= SAME_POSITION_A).all())


def _judge(frame: ReadFrame | LabelRefused, settings_hash: str, checks: FrameChecks) -> FrameVerdict:
    if isinstance(frame, LabelRefused):
        return FrameVerdict(None, refusal=frame)
    if frame.refusal is not None:
        return FrameVerdict(frame, refusal=frame.refusal)
    try:
        if np.size(frame.forces_eV_A) == 0:
            raise LabelRefused(LabelRefusal.UNFINISHED, "no energy and forces; only a finished calculation is a label")
        if frame.atoms.pbc.any() and not abs(np.linalg.det(frame.atoms.cell)) > 0:
            raise LabelRefused(LabelRefusal.WRONG_STRUCTURE, "periodic, but its cell has no volume")
        own = frame.atoms.info.get("settings_hash", settings_hash)
        if str(own) != settings_hash:
            raise LabelRefused(
                LabelRefusal.WRONG_SETTINGS, f"settings hash {own} instead of {settings_hash}; split the file"
            )
        initial_muB = None if checks.initial_moments is None else checks.initial_moments(frame.atoms)
        spin_judged = not np.any(initial_muB) or frame.total_moment_muB is not None or frame.moments_muB is not None
        result = judge_frame(frame, checks.force_ceiling_eV_A, initial_moments_muB=initial_muB)
        state_judged = checks.levels is None or frame.moments_muB is not None
        if checks.levels is not None and frame.moments_muB is not None:
            oxidation = find_oxidation(
                frame.atoms, frame.moments_muB, frame.total_moment_muB, checks.levels, frame.orbital_occupations
            )
            result = replace(result, oxidation=oxidation)
        elif checks.levels is not None:
            # States that no moments show.
            frame.atoms.arrays.pop("oxidation", None)
        return FrameVerdict(frame, result, spin_judged=spin_judged, state_judged=state_judged)
    except Exception as error:
        return FrameVerdict(frame, refusal=_as_refusal(error, Path(f"step {frame.step}")))


def find_oxidation(
    atoms: Atoms,
    moments_muB: np.ndarray,
    total_moment_muB: float | None,
    levels: OxidationLevels,
    orbital_occupations: np.ndarray | None = None,
) -> np.ndarray:
    """Oxidation states (n,) of atoms in a clean neutral state; arguments as for `judge_state`.

    Raises:
        LabelRefused: wrong_electronic_state, also for a composition that these states cannot make neutral.
    """
    try:
        return judge_state(
            list(atoms.symbols), moments_muB, total_moment_muB, levels, orbital_occupations=orbital_occupations
        ).oxidation
    except (StructureError, ConfigError) as error:
        raise LabelRefused(LabelRefusal.WRONG_ELECTRONIC_STATE, str(error)) from error


def check_windows(items: Iterable[FrameVerdict], window: int = WINDOW, margin: int = MARGIN) -> Iterator[FrameVerdict]:
    """The verdict of a run on its frames, in windows that overlap, so that memory stays bounded."""
    held: list[FrameVerdict] = []
    done = 0
    for item in items:
        held.append(item)
        if len(held) == window:
            yield from check_together(held)[done : window - margin]
            held, done = held[window - 2 * margin :], margin
    yield from check_together(held)[done:]


def check_together(items: list[FrameVerdict]) -> list[FrameVerdict]:
    """The same frames, those refused that do not go together with their neighbours (`train.audit.run.check_states`)."""
    from redoxmd.train.audit.run import check_states

    frames, states = [], []
    for item in items:
        if item.frame is not None and item.result is not None:
            frames.append(item.frame)
            states.append(b"" if item.result.oxidation is None else item.result.oxidation.tobytes())
    found = check_states(frames, states)
    return [
        replace(item, result=None, refusal=LabelRefused(*found[item.frame.step]))
        if item.refusal is None and item.frame is not None and item.frame.step in found
        else item
        for item in items
    ]
