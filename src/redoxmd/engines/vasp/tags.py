"""Which INCAR tags move energies, and which only find or write the same answer."""

from __future__ import annotations

# Electronic minimisation, mixing and its limits; start and restart; parallel layout; files and verbosity; labels.
NUMERICAL_TAGS = frozenset(
    [
        "ALGO",
        "IALGO",
        "ISEARCH",
        "NELM",
        "NELMIN",
        "NELMDL",
        "IMIX",
        "INIMIX",
        "MIXPRE",
        "MAXMIX",
        "AMIX",
        "BMIX",
        "AMIX_MAG",
        "BMIX_MAG",
        "AMIN",
        "WC",
        "TIME",
        "LDIAG",
        "LSUBROT",
        "EFERMI",
        "ISTART",
        "ICHARG",
        "INIWAV",
        "MAGMOM",
        "LWAVE",
        "LCHARG",
        "LAECHG",
        "LELF",
        "LVTOT",
        "LVHAR",
        "LORBIT",
        "NWRITE",
        "SYSTEM",
        "NBLOCK",
        "KBLOCK",
        "NCORE",
        "NPAR",
        "KPAR",
        "NSIM",
        "LPLANE",
        "LSCALU",
        "LSCALAPACK",
        "LSCAAWARE",
        "LASYNC",
        "NBANDS",
        "SYMPREC",
        "ISYM",
        "LH5",
        "POMASS",
    ]
)


def is_numerical(tag: str) -> bool:
    """Whether a converged result is the same, to its tolerance, whatever the tag says."""
    return tag.upper() in NUMERICAL_TAGS
