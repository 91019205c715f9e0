"""An archive of finished calculations into a dataset, and a dataset into the files of other potentials."""
