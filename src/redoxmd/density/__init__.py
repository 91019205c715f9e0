"""Electron density, total and spin: records, stores, exchange with other codes, the model and its inference.

Import from the modules. Without torch: `grid` (one density), `store` (many in a file), `dataset` (which to learn from),
`exchange` (CHGCAR, cube), `slices`. The model: `superposition` and `cores` (the atoms), `probes`, `network` and
`multipoles` (what the network sees and is), `pool` and `training`, `model` and `predict`, `evaluation`.
"""
