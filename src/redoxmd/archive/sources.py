"""Search for calculations in folders: files that belong together, and names of configurations."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from redoxmd.density.exchange.text import UNPACK_IT, by_number, is_packed, plain_name, safe_name, unused_name, vasp_file
from redoxmd.engines.calculation import ReadFrame
from redoxmd.errors import DataError, LabelRefusal

# Kinds of files, among those of `vasp_file`, that belong to a calculation.
VASP_KINDS = ("vasprun", "outcar", "chgcar", "vaspout")
SUFFIXES = {".extxyz": "extxyz", ".xyz": "extxyz", ".exyz": "extxyz", ".traj": "traj", ".gpw": "gpw"}
LOG_SUFFIXES = (".txt", ".log", ".out")
# The banner in the first lines of a GPAW log.
GPAW_BANNER = b"|__ |  _|___|_____|"
# Kinds whose frames are consecutive steps.
RUN_KINDS = ("vasprun", "gpaw log")
# Kinds that are refused without a vasprun.xml of the same run → reason, detail.
NEED_VASPRUN = {
    "outcar": ("not_read", "an OUTCAR alone is not read; put the vasprun.xml of the run beside it"),
    "vaspout": ("not_read", "vaspout.h5 is not read; put the vasprun.xml of the run beside it"),
    "chgcar": (LabelRefusal.UNFINISHED, "no vasprun.xml beside it; see `redoxmd density import`"),
}
LINK = "a link to a folder, not followed; name that folder as well"


@dataclass(frozen=True)
class Source:
    """Files of one calculation.

    Attributes:
        path: file with energies and forces.
        kind: vasprun, extxyz, traj, gpw or gpaw log.
        name: of its configuration, from folder and file names; not yet unique.
        outcar: the OUTCAR beside a vasprun.xml, for the moments.
        chgcar: the density of the last frame.
    """

    path: Path
    kind: str
    name: str
    outcar: Path | None = None
    chgcar: Path | None = None

    @property
    def files(self) -> int:
        """Number of files."""
        return 1 + (self.outcar is not None) + (self.chgcar is not None)

    @property
    def is_run(self) -> bool:
        """Whether consecutive frames are consecutive steps."""
        return self.kind in RUN_KINDS


@dataclass
class ArchiveContents:
    """Contents of the searched files and folders.

    Attributes:
        sources: calculations, folder by folder, numbers in names in numerical order.
        without_vasprun: OUTCAR, CHGCAR, vaspout.h5 without the vasprun.xml of their run → reason, detail.
        skipped: unreadable folders, links to folders, broken links, packed files → reason.
        unrelated_files: number of files of no calculation.
    """

    sources: list[Source] = field(default_factory=list)
    without_vasprun: dict[Path, tuple[str, str]] = field(default_factory=dict)
    skipped: dict[Path, str] = field(default_factory=dict)
    unrelated_files: int = 0


def find_sources(paths: Sequence[str | Path], leave_out: Path | None = None) -> ArchiveContents:
    """Calculations in files and folders; each file counts once, even if several paths lead to it.

    Args:
        paths: files, or folders to search.
        leave_out: a folder that is not searched: the dataset being written.

    Raises:
        DataError: a path is missing, or none contains a calculation.
    """
    contents, visited = ArchiveContents(), set[Path]()
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        folders = [(path.parent, _with_companions(path))] if path.is_file() else _walk(path, leave_out, contents)
        for folder, names in folders:
            unvisited = [folder / name for name in names if _is_first_visit(folder / name, visited)]
            _add_sources(unvisited, folder if path.is_file() else path, contents)
    if not contents.sources and not contents.without_vasprun:
        skipped = "".join(f"; {path}: {reason}" for path, reason in [*contents.skipped.items()][:3])
        raise DataError(
            f"{', '.join(map(str, paths))}: no calculation there (vasprun.xml, .extxyz, .xyz, .traj, .gpw, GPAW "
            f"logs){skipped}"
        )
    return contents


def _with_companions(path: Path) -> list[str]:
    """Name of a file; for a file of VASP also those of the other files of its run in its folder."""
    kind, tag = _kind(path)
    beside = sorted(path.parent.iterdir()) if kind in VASP_KINDS else []
    companions = [(other, tag) for other in VASP_KINDS if other != kind]
    return [path.name, *(file.name for file in beside if _kind(file) in companions)]


def _walk(top: Path, leave_out: Path | None, contents: ArchiveContents) -> Iterator[tuple[Path, list[str]]]:
    hidden = leave_out.resolve() if leave_out else None

    def note(error: OSError) -> None:
        contents.skipped[Path(error.filename)] = f"cannot be read ({error.strerror})"

    for root, inner, names in os.walk(top, onerror=note):
        folder = Path(root)
        contents.skipped |= {folder / name: LINK for name in inner if (folder / name).is_symlink()}
        contents.skipped |= {folder / name: "a broken link" for name in names if not (folder / name).exists()}
        inner[:] = sorted((name for name in inner if (folder / name).resolve() != hidden), key=by_number)
        yield folder, sorted((name for name in names if not name.startswith(".")), key=by_number)


def _is_first_visit(path: Path, visited: set[Path]) -> bool:
    target = path.resolve()
    is_new = target not in visited and target.is_file()
    visited.add(target)
    return is_new


def _add_sources(files: Iterable[Path], root: Path, contents: ArchiveContents) -> None:
    """Add the calculations among the files of one folder to the contents."""
    vasp: dict[str, dict[str, Path]] = {}
    for path in files:
        kind, tag = _kind(path)
        if kind in VASP_KINDS:
            # A file and its own compressed copy are two calculations.
            twin = kind in vasp.get(tag, {})
            vasp.setdefault(path.name if twin else tag, {})[kind] = path
        elif is_packed(path):
            contents.skipped[path] = UNPACK_IT
        elif kind:
            contents.sources.append(Source(path, kind, _name(path.parent, root, tag)))
        else:
            contents.unrelated_files += 1
    for tag, members in sorted(vasp.items(), key=lambda item: by_number(item[0])):
        vasprun = members.get("vasprun")
        if vasprun is None:
            contents.without_vasprun |= {members[kind]: why for kind, why in NEED_VASPRUN.items() if kind in members}
            continue
        name = _name(vasprun.parent, root, tag) or safe_name(vasprun.parent.resolve().name, "calculation")
        contents.sources.append(Source(vasprun, "vasprun", name, members.get("outcar"), members.get("chgcar")))


def _kind(path: Path) -> tuple[str, str]:
    """Kind of a file from its name (of logs from their first lines), and its distinguishing tag within the folder."""
    vasp = vasp_file(path)
    if vasp is not None and vasp[0] in VASP_KINDS:
        return vasp
    name = plain_name(path)
    plain = Path(name)
    if plain.suffix in SUFFIXES and (name == path.name or SUFFIXES[plain.suffix] == "extxyz"):
        return SUFFIXES[plain.suffix], plain.stem
    if name == path.name and plain.suffix in LOG_SUFFIXES and _is_gpaw_log(path):
        return "gpaw log", plain.stem
    return "", ""


def _is_gpaw_log(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return GPAW_BANNER in stream.read(2000)
    except OSError:
        return False


def _name(folder: Path, root: Path, tag: str) -> str:
    """Name of a configuration: the folders below the root and the tag of the file, joined."""
    folders = folder.relative_to(root).parts if folder.is_relative_to(root) else (folder.name,)
    words = [root.resolve().name] if not folders and not tag else [*folders, tag]
    return safe_name("_".join(word for word in words if word))


class FrameNames:
    """Assigns configurations and steps so that no two frames share both.

    Args:
        taken: (config_id, step) of existing frames.
        config_id: a single configuration for all frames.
    """

    def __init__(self, taken: Iterable[tuple[str, int]] = (), config_id: str | None = None) -> None:
        self._last: dict[str, int] = {}
        self._used: set[tuple[str, int]] = set()
        for name, step in taken:
            self._note(name, step)
        self._common = None if config_id is None else safe_name(config_id, "calculation")

    def configuration(self, name: str) -> str:
        """A new configuration of this name, with a number if the name is in use."""
        if self._common is not None:
            return self._common
        free = unused_name(name, self._last)
        self._last[free] = -1
        return free

    def frame(self, config_id: str, step: int, own: str | None = None) -> tuple[str, int]:
        """Configuration and step of a frame; a configuration named in the file itself has precedence.

        A step that is in use is replaced by the next free step.
        """
        name = config_id if own is None or self._common is not None else safe_name(own, config_id)
        following = self._last.get(name, -1) + 1
        if self._common is not None or (name, step) in self._used or step < 0:
            step = following
        self._note(name, step)
        return name, step

    def of_frame(self, config_id: str, frame: ReadFrame) -> tuple[str, int]:
        """Configuration and step of a frame as read, which may name its own in `info`."""
        own = frame.atoms.info.get("config_id")
        return self.frame(config_id, int(frame.atoms.info.get("step", frame.step)), None if own is None else str(own))

    def _note(self, name: str, step: int) -> None:
        self._used.add((name, step))
        self._last[name] = max(step, self._last.get(name, -1))
