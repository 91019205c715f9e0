"""Electron density, total and spin: records, stores, exchange with other codes, the model and its inference."""

from redoxmd.faces import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "dataset": ("DensitySet", "index_densities"),
        "evaluation": ("density_errors",),
        "exchange.archive": ("import_densities",),
        "exchange.chgcar": ("read_chgcar", "write_chgcar"),
        "exchange.cube": ("read_cube", "write_cube"),
        "grid": ("Density", "accept_density", "nmae_percent"),
        "model": ("DensityModel", "EncodedAtoms", "load_density_model", "save_density_model"),
        "predict": ("grid_shape", "predict_density"),
        "slices": ("interpolate_grid", "plane_through"),
        "store": ("density_keys", "read_densities", "read_density", "write_densities"),
        "training": ("DensityTraining", "train_density"),
    },
)
