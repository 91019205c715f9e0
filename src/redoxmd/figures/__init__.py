"""One module per figure; each draws a matplotlib Figure from tidy tables. `paper/` compares a run with the paper."""

import os
from importlib.util import find_spec

from redoxmd.faces import lazy_names

# A job inherits the backend of the notebook that started it; matplotlib refuses a backend that is not installed.
_backend = os.environ.get("MPLBACKEND", "")
if _backend.startswith("module://") and find_spec(_backend.removeprefix("module://").partition(".")[0]) is None:
    del os.environ["MPLBACKEND"]

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "catalogue": ("EVERY_FIGURE", "figures_of"),
        "paper": ("RunTables", "compare"),
        "save": ("save_figure",),
    },
)
