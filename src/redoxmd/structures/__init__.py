"""Cells, orderings of the mobile ion, supercells, volume and initial moments."""

from redoxmd.faces import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "build": ("build_structure", "initial_moments"),
        "occupation": ("Occupation",),
        "periodic_cell": ("PeriodicCell",),
        "request": ("StructureRequest", "parse_name"),
        "source": ("SourceCell", "full_cell", "source_cell"),
        "symmetry": ("ordering_class",),
    },
)
