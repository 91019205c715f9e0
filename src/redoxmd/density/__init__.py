"""Electron density, total and spin: records, stores, exchange with other codes, the model and its inference.

Import from the modules. Without torch: `grid` (one density), `store` (many in a file), `dataset` (train, validation and
test sets), `exchange` (CHGCAR, cube), `slices`. The model: `superposition` and `cores` (atomic densities), `probes`
(neighbours of grid points), `network` and `multipoles`, `pool` and `training`, `model` and `predict`, `evaluation`.
"""
