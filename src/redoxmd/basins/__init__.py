"""Orderings of lowest energy by basin hopping."""

from redoxmd.faces import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "hopping": ("BasinsRun", "hop_basins"),
        "orderings": ("ordering_table", "vacancy_costs"),
    },
)
