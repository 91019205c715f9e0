"""A corpus of broken calculations made from sound ones, and what an import must say of each."""

import bz2
import gzip
import lzma
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from redoxmd.archive.importing import RequiredLevel, import_archive
from redoxmd.engines.vasp.vasprun import read_vasprun
from tests.archive.made import TITLES, md, real, vasprun

FRAMES = 20
HASH = "corpus"
GPAW = Path(__file__).parents[1] / "data" / "gpaw"


@dataclass(frozen=True)
class Case:
    """A calculation in a folder.

    Attributes:
        what: was done to it.
        make: writes it.
        refused: step (None: the file, or its rest) → reason.
        kept: frames that stay.
    """

    what: str
    make: Callable[[Path], None]
    refused: dict[int | None, str]
    kept: int


def _write(folder: Path, content: str | bytes, name: str = "vasprun.xml") -> None:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def _changed(seed: int, change: Callable[[str], str | bytes], name: str = "vasprun.xml") -> Callable[[Path], None]:
    return lambda folder: _write(folder, change(vasprun(md(seed, FRAMES))), name)


def _with(seed: int, **settings) -> Callable[[Path], None]:
    return lambda folder: _write(folder, vasprun(md(seed, FRAMES), **settings))


def _cut(text: str, step: int, marker: str, beyond: int = 0) -> str:
    """Everything up to a marker in an ionic step."""
    start = [match.start() for match in re.finditer("<calculation>", text)][step]
    return text[: text.index(marker, start) + beyond]


def _in_step(text: str, step: int, change: Callable[[str], str]) -> str:
    start = [match.start() for match in re.finditer("<calculation>", text)][step]
    end = text.index("</calculation>", start)
    return text[:start] + change(text[start:end]) + text[end:]


def _first_force(block: str, words: str) -> str:
    return re.sub(r'(name="forces" >\s*<v>)[^<]*', rf"\1 {words} ", block, count=1)


def _frames(seed: int, change: Callable[[list], list]) -> Callable[[Path], None]:
    return lambda folder: _write(folder, vasprun(change(md(seed, FRAMES))))


def _relabelled(frame, energy_eV=0.0, force=None, order=None):
    """A frame whose labels or positions are tampered with."""
    results = dict(frame.calc.results)
    changed = frame.copy()
    if order is not None:
        changed.positions = changed.positions[order]
    results["energy"] += energy_eV
    if force is not None:
        results["forces"] = results["forces"] + np.asarray(force)
    changed.calc = SinglePointCalculator(changed, **results)
    return changed


def _at(step: int, **tampering) -> Callable[[list], list]:
    return lambda frames: [_relabelled(f, **tampering) if n == step else f for n, f in enumerate(frames)]


def _noise(step: int, sigma_eV_A: float) -> Callable[[list], list]:
    rng = np.random.default_rng(3)
    noise = sigma_eV_A * rng.standard_normal((8, 3))
    return _at(step, force=noise - noise.mean(axis=0))


def _swap(first: int, second: int) -> list[int]:
    order = list(range(8))
    order[first], order[second] = second, first
    return order


def _ase(seed: int, name: str = "frames.extxyz", share: float = 1.0, **info) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        frames = md(seed, FRAMES)
        for step, frame in enumerate(frames):
            frame.info.update({"engine": "vasp", "settings_hash": HASH, "step": step, "converged": True} | info)
        write(folder / name, frames, format="traj" if name.endswith("traj") else "extxyz")
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: round(share * len(content))])

    return make


def _two_sources(folder: Path) -> None:
    """Energies of the reference beside the forces of a model."""
    frames = md(65, FRAMES)
    for frame in frames:
        frame.info.update(engine="vasp", settings_hash=HASH, REF_energy=frame.get_potential_energy())
        frame.calc = SinglePointCalculator(frame, forces=frame.get_forces())
    write(folder / "frames.extxyz", frames)


def _damaged_row(folder: Path) -> None:
    """A number of an atom of frame 7 that is none."""
    _ase(67)(folder)
    lines = (folder / "frames.extxyz").read_text().splitlines(keepends=True)
    lines[7 * 10 + 4] = lines[7 * 10 + 4][:20] + "x" + lines[7 * 10 + 4][21:]
    (folder / "frames.extxyz").write_text("".join(lines))


def _force_field_alone(text: str) -> str:
    """A vasprun.xml without electronic steps, as VASP's own force field leaves it."""
    return re.sub(r"(?s)  <scstep>.*?</scstep>\n", "", text)


def _without_forces(folder: Path) -> None:
    frame = md(61, 1)[0]
    frame.info.update(engine="vasp", settings_hash=HASH)
    frame.calc = SinglePointCalculator(frame, energy=frame.get_potential_energy())
    write(folder / "frames.extxyz", frame)


def _real(folder_name: str, name: str) -> Callable[[Path], None]:
    return lambda folder: _write(folder, real(folder_name, name), name)


def _gpaw(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    suffix = Path(name).suffix
    return lambda folder: _write(folder, change(lzma.decompress((GPAW / f"{name}.xz").read_bytes())), "out" + suffix)


def _restarted(folder: Path) -> None:
    """A run and its restart, which repeats the last three frames."""
    frames = md(31, FRAMES)
    _write(folder, vasprun(frames[:12]), "vasprun.xml.1")
    _write(folder, vasprun(frames[9:]), "vasprun.xml.2")


def _one_broken_of_two(folder: Path) -> None:
    frames = md(32, FRAMES)
    _write(folder, vasprun(frames[:10]), "vasprun_01.xml")
    _write(folder, vasprun(frames[10:])[:-1000], "vasprun_02.xml")


def _parts(folder: Path) -> None:
    frames = md(6, FRAMES)
    for part in range(2):
        _write(
            folder, gzip.compress(vasprun(frames[10 * part : 10 * part + 10]).encode()), f"vasprun_{part + 1}.xml.gz"
        )


def _lose_a_tag(block: str) -> str:
    return block.replace("</varray>", "", 1)


def _lose_an_atom(block: str) -> str:
    return re.sub(r'(name="positions" >\n)[^\n]*\n', r"\1", block, count=1)


def _no_forces(block: str) -> str:
    return re.sub(r'(?s)  <varray name="forces" >.*?</varray>\n', "", block, count=1)


def _relaxation(folder: Path) -> None:
    _write(folder, vasprun(_at(0, energy_eV=0.5)(md(13, FRAMES)), ibrion=2))


ONE_FORCE = np.zeros((8, 3))
ONE_FORCE[3, 1] = 2.0
SOUND = (
    *(Case(f"MD, seed {seed}", _with(seed), {}, FRAMES) for seed in range(1, 4)),
    Case("compressed, .gz", _changed(4, lambda text: gzip.compress(text.encode()), "vasprun.xml.gz"), {}, FRAMES),
    Case("compressed, .xz", _changed(5, lambda text: lzma.compress(text.encode()), "vasprun.xml.xz"), {}, FRAMES),
    Case("in two parts, .gz", _parts, {}, FRAMES),
    Case("compressed, .bz2", _changed(7, lambda text: bz2.compress(text.encode()), "vasprun.xml.bz2"), {}, FRAMES),
    Case("real vasprun.xml", _real("converged", "vasprun.xml"), {}, 1),
    Case("extended XYZ with the hash of the config", _ase(8), {}, FRAMES),
    Case("hot, frames 4 fs apart", lambda f: _write(f, vasprun(md(9, FRAMES, every=4))), {}, FRAMES),
    Case("ASE trajectory with the hash of the config", _ase(10, name="run.traj"), {}, FRAMES),
    Case("other k-points of the same reach", _with(11, kpoints=(4, 4, 5)), {}, FRAMES),
    Case("relaxation whose first step stands apart", _relaxation, {}, FRAMES),
    Case("one frame", lambda folder: _write(folder, vasprun(md(12, 1))), {}, 1),
)
BROKEN = (
    Case("empty file", lambda folder: _write(folder, ""), {None: "did_not_start"}, 0),
    Case("zeros after a full disk", lambda folder: _write(folder, bytes(4096)), {None: "corrupted"}, 0),
    Case("cut in its header", _changed(20, lambda t: t[:6000]), {None: "unfinished"}, 0),
    Case("header only", _changed(21, lambda t: t.partition(" <calculation>")[0]), {None: "unfinished"}, 0),
    Case("cut in electronic steps of step 7", _changed(22, lambda t: _cut(t, 7, "</scstep>")), {None: "unfinished"}, 7),
    Case("cut in a force of step 7", _changed(23, lambda t: _cut(t, 7, '"forces" >', 40)), {None: "unfinished"}, 7),
    Case("cut between steps", _changed(24, lambda t: _cut(t, 7, "</calculation>", 15)), {None: "unfinished"}, 8),
    Case("only its last tag cut off", _changed(25, lambda t: t[:-12]), {None: "unfinished"}, FRAMES),
    Case(
        "cut in its gzip",
        _changed(26, lambda t: gzip.compress(t.encode(), 0)[:40_000], "vasprun.xml.gz"),
        {None: "unfinished"},
        4,
    ),
    Case("two runs in one file", _changed(27, lambda t: t + vasprun(md(28, 5))), {None: "corrupted"}, FRAMES),
    Case("a line lost in step 5", _changed(29, lambda t: _in_step(t, 5, _lose_a_tag)), {None: "corrupted"}, 5),
    Case("an atom lost in step 5", _changed(30, lambda t: _in_step(t, 5, _lose_an_atom)), {None: "corrupted"}, 5),
    Case("restart that repeats three steps", _restarted, {0: "duplicate", 1: "duplicate", 2: "duplicate"}, FRAMES),
    Case("second of two parts cut", _one_broken_of_two, {None: "unfinished"}, FRAMES - 1),
    Case("the run copied", lambda f: _write(f, vasprun(md(1, FRAMES))), {n: "duplicate" for n in range(FRAMES)}, 0),
    Case(
        "stars for a force in step 5",
        _changed(33, lambda t: _in_step(t, 5, lambda b: _first_force(b, "********* 0.1 0.1"))),
        {None: "corrupted"},
        5,
    ),
    Case(
        "NaN for a force in step 5",
        _changed(34, lambda t: _in_step(t, 5, lambda b: _first_force(b, "NaN 0.1 0.1"))),
        {5: "not_finite"},
        FRAMES - 1,
    ),
    Case(
        "a huge force in step 5",
        _changed(35, lambda t: _in_step(t, 5, lambda b: _first_force(b, "150.0 0.1 0.1"))),
        {5: "force_ceiling"},
        FRAMES - 1,
    ),
    Case("step 5 ends at NELM", _with(36, unconverged=(5,)), {5: "unconverged"}, FRAMES - 1),
    Case("real vasprun.xml that ends at NELM", _real("elec-unconverged", "vasprun.xml"), {0: "unconverged"}, 0),
    Case("real vasprun.xml stopped in mid-run", _real("unfinished", "vasprun.xml"), {None: "unfinished"}, 0),
    Case("forces left out in step 5", _changed(37, lambda t: _in_step(t, 5, _no_forces)), {None: "unfinished"}, 5),
    Case("cutoff of 400 eV", _with(38, cutoff_eV=400.0), {None: "wrong_settings"}, 0),
    Case("U of 3 eV", _with(39, u_eV=3.0), {None: "wrong_settings"}, 0),
    Case("no U", _with(40, u_eV=0.0), {None: "wrong_settings"}, 0),
    Case("spin-polarised", _with(41, ispin=2), {None: "wrong_settings"}, 0),
    Case("PBEsol", _with(42, gga="PS"), {None: "wrong_settings"}, 0),
    Case("another POTCAR", _with(43, titles=TITLES | {"Cu": "PAW_PBE Cu_pv 06Sep2000"}), {None: "wrong_settings"}, 0),
    Case("Γ alone", _with(44, kpoints=(1, 1, 1)), {None: "wrong_settings"}, 0),
    Case("real run, 240 eV and spin", _real("spin-relax", "vasprun.xml"), {None: "wrong_settings"}, 0),
    Case("energy of step 9 off by 0.5 eV", _frames(45, _at(9, energy_eV=0.5)), {9: "corrupted"}, FRAMES - 1),
    Case("a force of step 9 off by 2 eV/Å", _frames(46, _at(9, force=ONE_FORCE)), {9: "corrupted"}, FRAMES - 1),
    Case("forces of step 9 with noise of 1 eV/Å", _frames(47, _noise(9, 1.0)), {9: "corrupted"}, FRAMES - 1),
    Case("two atoms of step 9 swapped", _frames(48, _at(9, order=_swap(0, 2))), {9: "wrong_structure"}, FRAMES - 1),
    Case("extended XYZ cut in frame 7", _ase(60, share=0.37), {None: "unfinished"}, 7),
    Case("extended XYZ without forces", _without_forces, {0: "unfinished"}, 0),
    Case("extended XYZ of another settings hash", _ase(62, settings_hash="other"), {None: "wrong_settings"}, 0),
    Case("extended XYZ marked unconverged", _ase(63, converged=False), {n: "unconverged" for n in range(FRAMES)}, 0),
    Case("energies and forces of two sources", _two_sources, {n: "corrupted" for n in range(FRAMES)}, 0),
    Case(
        "extended XYZ in hartree",
        _ase(66, **{"energy-unit": "hartree"}),
        {n: "wrong_settings" for n in range(FRAMES)},
        0,
    ),
    Case("a number of frame 7 damaged", _damaged_row, {7: "corrupted"}, FRAMES - 1),
    Case(
        "steps of a force field alone", _changed(68, _force_field_alone), {n: "unconverged" for n in range(FRAMES)}, 0
    ),
    Case("OUTCAR alone", _real("converged", "OUTCAR"), {None: "not_read"}, 0),
    Case("vaspout.h5 alone", lambda folder: _write(folder, b"\x89HDF", "vaspout.h5"), {None: "not_read"}, 0),
    Case("ASE trajectory cut", _ase(64, name="run.traj", share=0.5), {None: "corrupted"}, 9),
    Case("a .gpw of GPAW", _gpaw("LiH.gpw", lambda data: data), {None: "wrong_settings"}, 0),
    Case(".gpw cut", _gpaw("LiH.gpw", lambda data: data[:40_000]), {None: "corrupted"}, 0),
)


@dataclass(frozen=True)
class Outcome:
    """A case and what became of it."""

    case: Case
    refused: dict[int | None, str]
    kept: int


def run_corpus(folder: Path) -> list[Outcome]:
    """Import the whole corpus at once, against the level of the first sound run."""
    cases = [*SOUND, *BROKEN]
    places = [folder / "archive" / f"case{number:02d}" for number in range(len(cases))]
    for case, place in zip(cases, places, strict=True):
        place.mkdir(parents=True)
        case.make(place)
    level = read_vasprun(places[0] / "vasprun.xml").level
    report = import_archive([folder / "archive"], folder / "dataset", RequiredLevel(level, HASH))
    kept = {place: sum(n for name, n in report.accepted.items() if name.startswith(place.name)) for place in places}
    return [
        Outcome(case, {item.step: item.reason for item in report.refused if item.path.parent == place}, kept[place])
        for case, place in zip(cases, places, strict=True)
    ]


def corpus_table(outcomes: list[Outcome]) -> str:
    """The broken cases as a table of Markdown."""
    rows = [
        f"| {outcome.case.what} | {_words(outcome.case.refused)} | {_words(outcome.refused)} | {outcome.kept} |"
        for outcome in outcomes
        if outcome.case.refused
    ]
    return "\n".join(["| what was done | expected | found | frames kept |", "|---|---|---|---|", *rows])


def _words(refused: dict[int | None, str]) -> str:
    counts = {reason: list(refused.values()).count(reason) for reason in refused.values()}
    return ", ".join(reason if count == 1 else f"{count} × {reason}" for reason, count in counts.items()) or "–"
