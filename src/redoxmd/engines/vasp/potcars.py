"""POTCARs: search in the usual folder layouts, check of the stated family, identification by hash."""

from __future__ import annotations

import gzip
import hashlib
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from redoxmd.config import sections
from redoxmd.errors import EngineMissing

FOLDER_VARIABLES = ("PMG_VASP_PSP_DIR", "VASP_PP_PATH")
# Folder names of pymatgen, of VASP's own tar files and of ASE; the folder of a single release is searched as well.
FAMILY_FOLDERS = {
    "PBE": ("POT_GGA_PAW_PBE", "potpaw_PBE"),
    "PBE_52": ("POT_GGA_PAW_PBE_52", "potpaw_PBE.52", "potpaw_PBE_52"),
    "PBE_54": ("POT_GGA_PAW_PBE_54", "potpaw_PBE.54", "potpaw_PBE_54"),
    "PBE_64": ("POT_PAW_PBE_64", "potpaw_PBE.64", "potpaw_PBE_64"),
    "LDA": ("POT_LDA_PAW", "potpaw_LDA", "potpaw"),
    "LDA_54": ("POT_LDA_PAW_54", "potpaw_LDA.54", "potpaw_LDA_54"),
}
TITLES = {"PBE": "PAW_PBE", "LDA": "PAW"}


@dataclass(frozen=True)
class Potcar:
    """One element's POTCAR.

    Attributes:
        label: such as `Na_pv`.
        title: TITEL, such as "PAW_PBE Na_pv 19Sep2006".
        valence_e: ZVAL.
        cutoff_eV: ENMAX, the recommended cutoff.
        text: content of the file.
        families: releases to which it belongs according to pymatgen; empty if pymatgen does not know it.
    """

    path: Path
    label: str
    title: str
    valence_e: float
    cutoff_eV: float
    text: str
    families: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Hash of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def label_of(element: str, settings: sections.Vasp) -> str:
    """The POTCAR label that the config names for an element."""
    return settings.potcars.get(element, element)


def load_potcars(elements: Iterable[str], settings: sections.Vasp) -> dict[str, Potcar]:
    """POTCAR of each element, checked: element, label, and that it is of the stated family.

    Raises:
        EngineMissing: no folder is set, a file is missing, or its content is not that of its folder and name.
    """
    folder = potcar_folder(settings)
    return {element: _load(folder, element, settings) for element in elements}


def potcar_folder(settings: sections.Vasp) -> Path:
    """The folder of the POTCARs, from the config or the environment.

    Raises:
        EngineMissing: neither names an existing folder.
    """
    named = settings.potcar_dir or next((os.environ[name] for name in FOLDER_VARIABLES if os.environ.get(name)), None)
    if named is None:
        raise EngineMissing(
            f"engine.vasp.potcar_dir: not set, and neither is {' nor '.join(FOLDER_VARIABLES)}; name the folder of the "
            "POTCARs"
        )
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise EngineMissing(f"engine.vasp.potcar_dir: no folder {folder}; name the folder of the POTCARs")
    return folder


def _candidate_paths(folder: Path, family: str, label: str) -> list[Path]:
    releases = [folder / name for name in FAMILY_FOLDERS.get(family, (family,))] + [folder]
    return [
        release / name
        for release in releases
        for name in (f"{label}/POTCAR", f"{label}/POTCAR.gz", f"POTCAR.{label}.gz", f"POTCAR.{label}")
    ]


def _load(folder: Path, element: str, settings: sections.Vasp) -> Potcar:
    label, family = label_of(element, settings), settings.potcar_family
    path = next((path for path in _candidate_paths(folder, family, label) if path.is_file()), None)
    if path is None:
        raise EngineMissing(
            f"engine.vasp.potcars: no POTCAR {label} of {family} in {folder} (looked for "
            f"{FAMILY_FOLDERS.get(family, (family,))[0]}/{label}/POTCAR, {label}/POTCAR and their .gz); correct "
            "engine.vasp.potcars, potcar_family or potcar_dir"
        )
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    potcar = _parse(path, label, text)
    _check(potcar, element, family)
    return potcar


def _parse(path: Path, label: str, text: str) -> Potcar:
    from pymatgen.io.vasp.inputs import PotcarSingle

    try:
        with warnings.catch_warnings():
            # pymatgen warns of every unknown file; `families` holds the same information.
            warnings.simplefilter("ignore")
            single = PotcarSingle(text)
            families = single.identify_potcar(mode="data")[0]
        return Potcar(
            path, label, str(single.TITEL).strip(), float(single.ZVAL), float(single.ENMAX), text, tuple(families)
        )
    except Exception as error:
        raise EngineMissing(f"{path}: not readable as a POTCAR ({error}); copy it again") from error


def _check(potcar: Potcar, element: str, family: str) -> None:
    words = potcar.title.split()
    wanted = TITLES["LDA" if family.startswith("LDA") else "PBE"]
    name = words[1] if len(words) > 1 else ""
    if words[:1] != [wanted] or name.partition("_")[0].partition(".")[0] != element or name != potcar.label:
        raise EngineMissing(
            f"{potcar.path}: its title is {potcar.title!r}, expected {wanted} {potcar.label}; correct "
            f"engine.vasp.potcars.{element} or potcar_family"
        )
    if potcar.families and family not in potcar.families:
        raise EngineMissing(
            f"{potcar.path}: belongs to {', '.join(sorted(potcar.families))}, not to {family}; correct "
            "engine.vasp.potcar_family or potcar_dir"
        )
