"""One module per figure: tidy tables in, a matplotlib Figure out."""

import os

# A notebook's backend is inherited by jobs, and matplotlib refuses one it cannot load; figures are written to files.
os.environ["MPLBACKEND"] = "Agg"
