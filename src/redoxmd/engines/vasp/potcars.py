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


def _load(folder: Path, element: str, settings: sections.Vasp) -> Potcar:
    label, family = settings.potcars.get(element, element), settings.potcar_family
    releases = FAMILY_FOLDERS.get(family, (family,))
    names = (f"{label}/POTCAR", f"{label}/POTCAR.gz", f"POTCAR.{label}.gz", f"POTCAR.{label}")
    candidates = [release / name for release in [*(folder / name for name in releases), folder] for name in names]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise EngineMissing(
            f"engine.vasp.potcars: no POTCAR {label} of {family} in {folder} (looked for "
            f"{releases[0]}/{label}/POTCAR, {label}/POTCAR and their .gz); correct "
            "engine.vasp.potcars, potcar_family or potcar_dir"
        )
    potcar = _read(path, label)
    words = potcar.title.split()
    wanted = TITLES["LDA" if family.startswith("LDA") else "PBE"]
    if words[:2] != [wanted, label] or label.partition("_")[0].partition(".")[0] != element:
        raise EngineMissing(
            f"{path}: its title is {potcar.title!r}, expected {wanted} {label}; correct "
            f"engine.vasp.potcars.{element} or potcar_family"
        )
    if potcar.families and family not in potcar.families:
        raise EngineMissing(
            f"{path}: belongs to {', '.join(sorted(potcar.families))}, not to {family}; correct "
            "engine.vasp.potcar_family or potcar_dir"
        )
    return potcar


def _read(path: Path, label: str) -> Potcar:
    from pymatgen.io.vasp.inputs import PotcarSingle

    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    try:
        with warnings.catch_warnings():
            # pymatgen warns of every unknown file; `families` holds the same information.
            warnings.simplefilter("ignore")
            single = PotcarSingle(text)
            families = tuple(single.identify_potcar(mode="data")[0])
        return Potcar(label, str(single.TITEL).strip(), float(single.ZVAL), float(single.ENMAX), text, families)
    except Exception as error:
        raise EngineMissing(f"{path}: not readable as a POTCAR ({error}); copy it again") from error
