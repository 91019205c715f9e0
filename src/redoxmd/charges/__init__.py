"""Bader charges, oxidation states and electron hops from densities.

Import from the modules: `bader` (charges and moments of a density), `oxidation` and `states` (oxidation states of
atoms), `hops` (electron hops and ion jumps), `redox` (tables of one trajectory), `summary` (of all trajectories),
`event` (one jump with its hop). These modules do not need torch.
"""
