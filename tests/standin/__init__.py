"""A stand-in for `vasp_std`, for tests without a licence: `install_standin` puts it and its POTCARs into a folder."""

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from .behaviours import VARIABLE, WORDS, starts, write_behaviours
from .potcars import potcar_text, write_potcars

__all__ = ["WORDS", "StandIn", "install_standin", "potcar_text", "write_potcars"]

ROOT = Path(__file__).parents[2]
VALENCES_E = {"Na_pv": 7, "V_pv": 13, "P": 5, "O": 6}


@dataclass(frozen=True)
class StandIn:
    """An installed stand-in.

    `command` needs no environment; with `env` the bare word vasp_std is found, and so are the POTCARs.
    """

    command: str
    potcar_dir: Path
    env: dict
    behaviours: Path

    def starts(self):
        """One entry for each start: word, pid, folder, time."""
        return starts(self.behaviours)

    def behave(self, *words):
        """Set what the next starts do, and forget the ones before."""
        write_behaviours(self.behaviours, words)


def install_standin(folder, behaviours=("fine",), valences_e=VALENCES_E):
    """An executable folder/bin/vasp_std, POTCARs in folder/potcars, and the words its starts obey, one each."""
    folder = Path(folder).resolve()
    words, program, potcars = folder / "behaviours.json", folder / "bin/vasp_std", folder / "potcars"
    program.parent.mkdir(parents=True, exist_ok=True)
    write_behaviours(words, behaviours)
    write_potcars(potcars, valences_e)
    quoted = [shlex.quote(str(item)) for item in (words, f"{ROOT}{os.pathsep}{ROOT / 'src'}", sys.executable)]
    program.write_text(
        f"#!/bin/sh\nexport {VARIABLE}={quoted[0]} PYTHONPATH={quoted[1]} OMP_NUM_THREADS=1\n"
        f"exec {quoted[2]} -m tests.standin.vasp_std\n"
    )
    program.chmod(0o755)
    env = {
        "PATH": f"{program.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        VARIABLE: str(words),
        "PMG_VASP_PSP_DIR": str(potcars),
        "VASP_PP_PATH": str(potcars),
    }
    return StandIn(shlex.quote(str(program)), potcars, env, words)
