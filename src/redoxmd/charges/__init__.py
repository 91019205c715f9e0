"""From densities to electrons on the move: Bader charges, oxidation states, hops.

Import from the modules: `bader` (a density's charges and moments), `oxidation` (which state an atom is in), `hops` and
`geometry` (what changes, and around it), `redox` (a trajectory's tables). None needs torch.
"""
