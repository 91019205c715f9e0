"""VASP: found or refused here; running it is not part of this version."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redoxmd.config import sections
from redoxmd.engines.base import Engine
from redoxmd.errors import EngineMissing

METHOD_VERSION = 1


def physical_settings(settings: sections.Engine) -> dict[str, Any]:
    """What changes energies and forces: everything but the command and the folder of the POTCARs."""
    return settings.vasp.model_dump(mode="json", exclude={"command", "potcar_dir"})


def available(settings: sections.Engine) -> tuple[bool, str]:
    """Whether the program of `engine.vasp.command` is on PATH."""
    words = shlex.split(settings.vasp.command)
    # With an MPI launcher the program is the last word, and the launcher must be there too.
    missing = [word for word in (words[-1:] + words[:1]) if shutil.which(word) is None]
    if not words or missing:
        program = missing[0] if missing else "vasp_std"
        return False, (
            f"no {program} found: it is not on PATH; set engine.vasp.command to the command that starts VASP here, or "
            "use config/nvp-gpaw.yaml, which needs no licence"
        )
    return False, f"{words[-1]} found, but this version of redoxmd cannot run VASP yet; use engine gpaw or ase"


def create(settings: sections.Engine, repeats: Sequence[int], workdir: Path | None) -> Engine:
    """Refuse, saying why.

    Raises:
        EngineMissing: always in this version.
    """
    raise EngineMissing(available(settings)[1])
