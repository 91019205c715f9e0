"""Electron density, total and spin: records, stores, exchange with other codes, the model and its inference.

Import from the modules: `grid` (one density), `store` (many in a file) and `exchange` (CHGCAR, cube) need no torch;
`superposition`, `probes`, `network`, `training` and `predict` are the model.
"""
