"""Files of a run: their paths, formats and atomic writing."""
