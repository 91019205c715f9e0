"""Exchange densities with other codes: read and write CHGCAR and cube files, import many into stores. Needs no torch.

Import from the modules: `chgcar`, `cube` (one file), `archive` (many files), `valence` (valence electrons of atoms).
"""
