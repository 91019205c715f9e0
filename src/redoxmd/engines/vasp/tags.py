"""INCAR tags that do not change the energies and forces of a geometry, and why; every other tag may."""

from __future__ import annotations

from collections.abc import Mapping

# A converged result is the same, to its tolerance. No part of the settings hash.
NUMERICAL: Mapping[str, tuple[str, ...]] = {
    "electronic minimisation and its limits: a loop that does not converge is refused": (
        *("ALGO", "IALGO", "ISEARCH", "NELM", "NELMIN", "NELMDL", "TIME", "LDIAG", "LSUBROT", "EFERMI", "INIWAV"),
        "NBANDS",
    ),
    "mixing: it moves the path to self-consistency, not its end": (
        *("IMIX", "INIMIX", "MIXPRE", "MAXMIX", "AMIX", "BMIX", "AMIX_MAG", "BMIX_MAG", "AMIN", "WC"),
    ),
    "start of the electrons; ICHARG from 10 on is refused, and moments are judged": ("ISTART", "ICHARG", "MAGMOM"),
    "symmetry: how much of it is used": ("SYMPREC", "ISYM"),
    "files, verbosity and labels": (
        *("LWAVE", "LCHARG", "LAECHG", "LELF", "LVTOT", "LVHAR", "LORBIT", "NWRITE", "SYSTEM", "NBLOCK", "KBLOCK"),
        "LH5",
    ),
    "parallel layout": (*("NCORE", "NPAR", "KPAR", "NSIM", "LPLANE", "LSCALU", "LSCALAPACK", "LSCAAWARE", "LASYNC"),),
    "masses: they move the atoms, not the electrons": ("POMASS",),
}
# Frames agree although a run is another one, or takes longer. Part of the settings hash.
OF_THE_RUN: Mapping[str, tuple[str, ...]] = {
    "which geometries are visited, not their energies (pV of PSTRESS is taken off)": (
        *("NSW", "IBRION", "ISIF", "POTIM", "TEBEG", "TEEND", "SMASS", "MDALGO", "RANDOM_SEED", "PSTRESS", "PMASS"),
        *("LANGEVIN_GAMMA", "LANGEVIN_GAMMA_L", "ANDERSEN_PROB", "CSVR_PERIOD", "NHC_NCHAINS", "NHC_PERIOD"),
        *("NHC_NRESPA", "NHC_NS", "NSUBSYS", "TSUBSYS", "PSUBSYS", "LATTICE_CONSTRAINTS", "SHAKETOL", "SHAKEMAXITER"),
        *("EDIFFG", "NFREE", "IWAVPR", "NPACO", "APACO"),
    ),
    "further limits of the minimisation and of the mixing": (
        *("LMAXMIX", "LMIXTAU", "MIXFIRST", "MREMOVE", "EBREAK", "DEPER", "WEIMIN", "NRMM", "ENINI", "NELMHF"),
        *("LFOCKACE", "NBLK", "LORBITALREAL", "MAXMEM", "NCSHMEM", "LUSENCCL", "NCORE_IN_IMAGE1"),
    ),
    "read out after self-consistency: spectra, projections, band paths": (
        *("NEDOS", "EMIN", "EMAX", "RWIGS", "LOPTICS", "CSHIFT", "LEFG", "LCALCPOL", "LHYPERFINE", "LORBMOM"),
        *("LEPSILON", "LPEAD", "LNABLA", "LVEL", "LRPA", "OMEGAMAX"),
        *("KPOINT_BSE", "LKPOINTS_OPT", "KPOINTS_OPT_MODE", "LDAUPRINT", "LDOWNSAMPLE", "IDIOT", "LCHARGH5"),
        "LWAVEH5",
    ),
    "VASP sets it itself, from LASPH and the potentials": ("LMAXTAU",),
}
# The force field chooses the steps that DFT does; frames that it predicts are refused.
PREFIX_OF_THE_RUN = "ML_"
_NUMERICAL = frozenset(tag for tags in NUMERICAL.values() for tag in tags)
_OF_THE_RUN = frozenset(tag for tags in OF_THE_RUN.values() for tag in tags)


def is_numerical(tag: str) -> bool:
    """Whether a converged result is the same, to its tolerance, whatever the tag says."""
    return tag.upper() in _NUMERICAL


def is_harmless(tag: str) -> bool:
    """Whether frames may be trained on together that differ in this tag; False for a tag that is not known."""
    return is_numerical(tag) or tag.upper() in _OF_THE_RUN or tag.upper().startswith(PREFIX_OF_THE_RUN)
