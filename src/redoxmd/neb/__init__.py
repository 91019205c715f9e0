"""Barriers along paths of the mobile ions: climbing-image NEB with the ensemble, single points of the reference."""

from redoxmd.faces import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "band": ("NoPath", "find_path"),
        "ends": ("path_ends",),
        "profile": ("barrier_record", "profile_table"),
        "run": ("PathTask", "explore_path", "run_path"),
    },
)
