"""Run a script of the workflow on files, as Snakemake does; those of figures under a user's own matplotlib settings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

from tests.warm import warm_python

ROOT = Path(__file__).parents[1]
RUN = """
import json, runpy, sys
from types import SimpleNamespace
given = json.loads(sys.argv[2])
job = {"rule": given["rule"], "threads": 1, "log": [given["log"]]}
job |= {"config": given["config"], "wildcards": SimpleNamespace(**given["wildcards"])}
class Files(SimpleNamespace):
    __getitem__ = SimpleNamespace.__getattribute__
    def __iter__(self):
        return iter(sum(([v] if isinstance(v, str) else v for v in vars(self).values()), []))
    def get(self, name, default=None):
        return vars(self).get(name, default)
    def items(self):
        return vars(self).items()
job |= {name: Files(**given[name]) for name in ("input", "output", "params")}
runpy.run_path(sys.argv[1], init_globals={"snakemake": SimpleNamespace(**job)})
"""


def execute(name, folder, params, inputs, outputs=None, environment=None, config=None, wildcards=None, warm=False):
    """Run the script of a rule; its log is in the folder. With `warm` in a process that has imported the libraries."""
    given = {"rule": name, "params": params, "input": inputs, "output": outputs or {}, "log": str(folder / "log")}
    given |= {"config": config or {}, "wildcards": wildcards or {}}
    python = [sys.executable, "-c", RUN]
    if warm:
        (folder / "run.py").write_text(RUN)
        python = [warm_python(), str(folder / "run.py")]
    done = subprocess.run(
        [*python, str(ROOT / f"workflow/scripts/{name}.py"), json.dumps(given)],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def run_script(name, folder, params=None, **inputs):
    """The CSV that a script writes beside its figure; LaTeX for text and a backend that cannot be loaded are set."""
    (folder / "matplotlibrc").write_text("text.usetex: True\nlines.linewidth: 9\n")
    params = {"stem": str(folder / name), "style": {}, **(params or {})}
    environment = {"MPLBACKEND": "module://no_such.backend", "MATPLOTLIBRC": str(folder)}
    execute(name, folder, params, inputs, environment=environment)
    return pd.read_csv(folder / f"{name}.csv")
