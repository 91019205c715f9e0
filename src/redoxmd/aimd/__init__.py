"""Reference MD by an engine, for the stages aimd and label."""

from redoxmd.faces import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "drivers": ("run_reference_md",),
        "records": ("LabelRecord", "Refusal", "RunRecord"),
        "reference_md": ("ReferenceMD",),
    },
)
