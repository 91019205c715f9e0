"""Training data, their split, and the training of the potentials."""

from redoxmd.faces import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "audit.parity": ("residuals", "suspects"),
        "audit.run": ("check_labelled", "check_run"),
        "calibration": ("calibrate", "calibrated", "evaluate"),
        "cross_validation": ("held_out_errors",),
        "dataset": ("Dataset", "build_dataset", "load_datasets"),
        "early_stopping": ("TrainingResult",),
        "records": ("DatasetRecord", "EnsembleRecord"),
        "trainer": ("load_member", "save_member", "train_member"),
    },
)
