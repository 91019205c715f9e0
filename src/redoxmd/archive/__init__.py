"""Import of finished calculations into a dataset, and export of a dataset to the files of other potentials."""

from redoxmd.faces import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "exporting": ("export_frames",),
        "importing": ("RequiredLevel", "import_archive"),
        "report": ("ImportReport",),
    },
)
