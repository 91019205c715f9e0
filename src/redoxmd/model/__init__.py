"""The equivariant potential: radial basis, graphs, network, ensemble."""

from redoxmd.faces import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "calculator": ("EnsembleCalculator",),
        "ensemble": ("Ensemble", "Prediction", "force_spread", "load_ensemble", "save_ensemble"),
        "neighbours": ("Pairs", "find_pairs"),
        "painn": ("Painn",),
        "repulsion": ("CoreRepulsion",),
    },
)
