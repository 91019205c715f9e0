"""Cells, orderings of the mobile ion, supercells, volume and initial moments.

Import from the modules: `request` (names), `source` (the source cell), `build` (structures). `request` needs no heavy
library.
"""
