"""Densities of other codes: CHGCAR and cube files in and out, archives of them into stores. None needs torch.

Import from the modules: `chgcar`, `cube` (one file), `archive` (many), `valence` (electrons each element brings).
"""
