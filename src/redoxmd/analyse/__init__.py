"""Analysis of trajectories of any code: read and unwrap, diffusion, sites and jumps, tables, figures and one page."""

from redoxmd.faces import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "page": ("write_page",),
        "reading": ("read_md",),
        "reference": ("reference_sites",),
        "results": ("MdResults", "analyse_md", "write_results"),
    },
)
