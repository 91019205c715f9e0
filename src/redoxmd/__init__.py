"""redoxmd: from DFT molecular dynamics to nanosecond dynamics with electrons."""

from redoxmd.faces import lazy_names

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "config.load": ("load_config",),
        "density.model": ("load_density_model",),
        "density.predict": ("predict_density",),
        "files.frames": ("read_frames",),
        "files.trajectory": ("Trajectory", "read_trajectory"),
        "model.calculator": ("EnsembleCalculator",),
        "model.ensemble": ("load_ensemble",),
        "structures.build": ("build_structure",),
    },
)
