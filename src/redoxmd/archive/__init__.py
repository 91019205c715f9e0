"""Import of finished calculations into a dataset; export of datasets and ensembles to the files of other codes."""

from redoxmd.faces import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "exporting": ("export_ensemble", "export_frames"),
        "importing": ("RequiredLevel", "import_archive"),
        "report": ("ImportReport",),
    },
)
