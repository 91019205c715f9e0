"""Files of finished calculations in folders: which belong together, and what each configuration is called."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from redoxmd.density.exchange.text import UNPACK_IT, is_packed, plain_name, vasp_file
from redoxmd.errors import DataError

# Files of VASP that make a calculation, of those that `vasp_file` knows.
VASP_KINDS = ("vasprun", "outcar", "chgcar", "vaspout")
SUFFIXES = {".extxyz": "extxyz", ".xyz": "extxyz", ".exyz": "extxyz", ".traj": "traj", ".gpw": "gpw"}
LOG_SUFFIXES = (".txt", ".log", ".out")
# The banner of a GPAW log; it stands in the first lines.
GPAW_BANNER = b"|__ |  _|___|_____|"
# Kinds whose frames follow each other in time.
RUNS = ("vasprun", "outcar", "gpaw log")
LINK = "a link to a folder, not followed; name that folder besides"


@dataclass(frozen=True)
class Source:
    """One calculation as found.

    Attributes:
        path: carries energies and forces.
        kind: vasprun, outcar, extxyz, traj, gpw or gpaw log.
        name: of its configuration, from folders and file name; not yet unique.
        outcar: the OUTCAR beside a vasprun.xml, which has the moments.
        chgcar: the density of the last frame.
    """

    path: Path
    kind: str
    name: str
    outcar: Path | None = None
    chgcar: Path | None = None

    @property
    def files(self) -> int:
        """Number of files it consists of."""
        return 1 + (self.outcar is not None) + (self.chgcar is not None)

    @property
    def is_run(self) -> bool:
        """Whether consecutive frames are consecutive steps."""
        return self.kind in RUNS


@dataclass
class Found:
    """What the paths hold.

    Attributes:
        sources: calculations, folder by folder, numbers in their order.
        lonely: CHGCARs without a calculation beside them.
        unread: vaspout.h5 files without another file of the calculation.
        skipped: folders that cannot be read or are links, links to nothing, files still packed → why.
        others: files that are none of ours, passed over.
    """

    sources: list[Source] = field(default_factory=list)
    lonely: list[Path] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)
    skipped: dict[Path, str] = field(default_factory=dict)
    others: int = 0


def find_sources(paths: Sequence[str | Path], leave_out: Path | None = None) -> Found:
    """Look through files and folders; each file counts once, whatever paths lead to it.

    Args:
        paths: files, or folders to look through.
        leave_out: a folder passed over: the dataset being written.

    Raises:
        DataError: a path is missing, or there is no calculation in any.
    """
    found, seen = Found(), set[Path]()
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        folders = [(path.parent, _with_parts(path))] if path.is_file() else _walk(path, leave_out, found)
        for folder, names in folders:
            fresh = [folder / name for name in names if _first_time(folder / name, seen)]
            _sort_out(fresh, folder if path.is_file() else path, found)
    if not found.sources and not found.lonely and not found.unread:
        skipped = "".join(f"; {path}: {why}" for path, why in [*found.skipped.items()][:3])
        raise DataError(
            f"{', '.join(map(str, paths))}: no calculation there (vasprun.xml, OUTCAR, .extxyz, .xyz, .traj, .gpw, "
            f"GPAW logs){skipped}"
        )
    return found


def _with_parts(path: Path) -> list[str]:
    """A file, and what belongs to it in its folder: moments and density of a VASP run."""
    kind, tag = _kind(path)
    wanted = {"vasprun": ("outcar", "chgcar"), "outcar": ("chgcar",)}.get(kind, ())
    beside = sorted(path.parent.iterdir()) if wanted else []
    return [path.name, *(file.name for file in beside if _kind(file) in [(part, tag) for part in wanted])]


def _walk(top: Path, leave_out: Path | None, found: Found) -> Iterator[tuple[Path, list[str]]]:
    hidden = leave_out.resolve() if leave_out else None

    def note(error: OSError) -> None:
        found.skipped[Path(error.filename)] = f"cannot be read ({error.strerror})"

    for folder, inner, names in os.walk(top, onerror=note):
        place = Path(folder)
        found.skipped |= {place / name: LINK for name in inner if (place / name).is_symlink()}
        found.skipped |= {place / name: "a link to nothing" for name in names if not (place / name).exists()}
        inner[:] = sorted((name for name in inner if (place / name).resolve() != hidden), key=by_number)
        yield place, sorted((name for name in names if not name.startswith(".")), key=by_number)


def by_number(name: str) -> list[tuple[int, str]]:
    """Sort key that puts run9 before run10."""
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in re.split(r"(\d+)", name)]


def _first_time(path: Path, seen: set[Path]) -> bool:
    place = path.resolve()
    new = place not in seen and place.is_file()
    seen.add(place)
    return new


def _sort_out(files: Iterable[Path], root: Path, found: Found) -> None:
    """Calculations among the files of one folder."""
    vasp: dict[str, dict[str, Path]] = {}
    for path in files:
        kind, tag = _kind(path)
        if kind in VASP_KINDS:
            # A file beside its own compressed copy is looked at as well.
            twin = kind in vasp.get(tag, {})
            vasp.setdefault(path.name if twin else tag, {})[kind] = path
        elif is_packed(path):
            found.skipped[path] = UNPACK_IT
        elif kind:
            found.sources.append(Source(path, kind, _name(path.parent, root, tag)))
        else:
            found.others += 1
    for tag, parts in sorted(vasp.items(), key=lambda item: by_number(item[0])):
        chgcar, vaspout = parts.pop("chgcar", None), parts.pop("vaspout", None)
        if not parts:
            # Beside a vasprun.xml or OUTCAR, vaspout.h5 tells the same again.
            found.lonely += [chgcar] if chgcar else []
            found.unread += [vaspout] if vaspout else []
            continue
        kind = "vasprun" if "vasprun" in parts else "outcar"
        path = parts.pop(kind)
        name = _name(path.parent, root, tag) or _safe(path.parent.resolve().name) or "calculation"
        found.sources.append(Source(path, kind, name, parts.get("outcar"), chgcar))


def _kind(path: Path) -> tuple[str, str]:
    """What a file is by its name (for logs by its first lines), and what tells it apart in its folder."""
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
    """Folders below the root and what tells a file apart, joined."""
    parts = folder.relative_to(root).parts if folder.is_relative_to(root) else (folder.name,)
    words = [root.resolve().name] if not parts and not tag else [*parts, tag]
    return _safe("_".join(word for word in words if word))


def _safe(name: str) -> str:
    """A name of letters, digits, `.`, `_` and `-`, fit for a configuration."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._")


class Names:
    """Configurations and steps given out so far, so that no two frames share both.

    Args:
        taken: (config_id, step) of frames that are there already.
        config_id: one configuration for everything.
    """

    def __init__(self, taken: Iterable[tuple[str, int]] = (), config_id: str | None = None) -> None:
        self._last: dict[str, int] = {}
        self._used: set[tuple[str, int]] = set()
        for name, step in taken:
            self._note(name, step)
        self._all = None if config_id is None else _safe(config_id) or "calculation"

    def configuration(self, name: str) -> str:
        """A new configuration of that name, or of that name and a number."""
        if self._all is not None:
            return self._all
        candidates = (name if count == 1 else f"{name}-{count}" for count in range(1, len(self._last) + 2))
        free = next(candidate for candidate in candidates if candidate not in self._last)
        self._last[free] = -1
        return free

    def frame(self, config_id: str, step: int, own: str | None = None) -> tuple[str, int]:
        """Configuration and step of a frame; a configuration that the file itself names is kept.

        A step that is taken becomes the next free one.
        """
        name = config_id if own is None or self._all is not None else _safe(own) or config_id
        following = self._last.get(name, -1) + 1
        if self._all is not None or (name, step) in self._used or step < 0:
            step = following
        self._note(name, step)
        return name, step

    def _note(self, name: str, step: int) -> None:
        self._used.add((name, step))
        self._last[name] = max(step, self._last.get(name, -1))
