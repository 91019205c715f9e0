"""One module per figure: tidy tables in, a matplotlib Figure out."""

import os
from importlib.util import find_spec

# A job inherits the backend of the notebook it was started from; matplotlib refuses one that is not installed here.
_backend = os.environ.get("MPLBACKEND", "")
if _backend.startswith("module://") and find_spec(_backend.removeprefix("module://").partition(".")[0]) is None:
    del os.environ["MPLBACKEND"]
