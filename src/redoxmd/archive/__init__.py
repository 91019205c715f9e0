"""Import of finished calculations into a dataset, and export of a dataset to the files of other potentials."""
