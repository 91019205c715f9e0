"""Run a figure's script of the workflow on files, as Snakemake does, under a user's own matplotlib settings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
RUN = """
import json, runpy, sys
from types import SimpleNamespace
given = json.loads(sys.argv[2])
job = {"rule": given["rule"], "threads": 1, "log": [given["log"]], "params": SimpleNamespace(**given["params"])}
class Input(SimpleNamespace):
    __getitem__ = SimpleNamespace.__getattribute__
    def get(self, name):
        return vars(self).get(name)
runpy.run_path(sys.argv[1], init_globals={"snakemake": SimpleNamespace(**job, input=Input(**given["input"]))})
"""


def run_script(name, folder, params=None, **inputs):
    """The CSV that a script writes beside its figure; LaTeX for text and a backend that cannot be loaded are set."""
    (folder / "matplotlibrc").write_text("text.usetex: True\nlines.linewidth: 9\n")
    params = {"stem": str(folder / name), "style": {}, **(params or {})}
    given = {"rule": name, "params": params, "input": inputs, "log": str(folder / "log")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(ROOT / f"workflow/scripts/{name}.py"), json.dumps(given)],
        env={**os.environ, "MPLBACKEND": "module://no_such.backend", "MATPLOTLIBRC": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return pd.read_csv(folder / f"{name}.csv")
