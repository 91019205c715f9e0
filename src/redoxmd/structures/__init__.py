"""Cells, orderings of the mobile ion, supercells, volume and initial moments.

Import from the modules: `request` (names), `source` (the full cell), `build` (structures). `request` alone needs no
heavy library.
"""
