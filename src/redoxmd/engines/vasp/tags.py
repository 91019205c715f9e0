"""INCAR tags: which do not change energies and forces of a geometry, and why; the defaults of those that do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
        *("LEPSILON", "LCALCEPS", "LCHIMAG", "LPEAD", "LNABLA", "LVEL", "LRPA", "OMEGAMAX"),
        *("KPOINT_BSE", "LKPOINTS_OPT", "KPOINTS_OPT_MODE", "LDAUPRINT", "LDOWNSAMPLE", "IDIOT", "LCHARGH5"),
        *("LWAVEH5", "LKPROJ", "QUAD_EFG", "NGYROMAG", "LBLUEOUT"),
    ),
    "VASP sets it itself, from LASPH and the potentials": ("LMAXTAU",),
}
# The force field chooses the steps that DFT does; frames that it predicts are refused.
PREFIX_OF_THE_RUN = "ML_"
# Further tags that move energies by more than meV/atom, with VASP's defaults; every level states them.
DETAILS: dict[str, Any] = {
    "ISMEAR": 1,
    "SIGMA": 0.2,
    "PREC": "normal",
    "LASPH": False,
    "LREAL": False,
    "IVDW": 0,
    "LUSE_VDW": False,
    "NUPDOWN": -1,
    "LNONCOLLINEAR": False,
    "LSORBIT": False,
    "LDIPOL": False,
    "LSOL": False,
}
# Tags with another default than "off", or that VASP reports whether they are set or not; a level states those that
# differ from the default. A tag that stands in no table here counts where an INCAR has it, unless it is harmless.
DEFAULTS: dict[str, Any] = {
    "ADDGRID": False,
    "AGGAC": 1.0,
    "AGGAX": 1.0,
    "ALDAC": 1.0,
    "ALDAX": 1.0,
    "EFIELD": 0.0,
    "EFIELD_PEAD": [0.0, 0.0, 0.0],
    "EPSILON": 1.0,
    "EXXOEP": 0,
    "GGA_COMPAT": True,
    "ICORELEVEL": 0,
    "IDIPOL": 0,
    "I_CONSTRAINED_M": 0,
    "LBERRY": False,
    "LCOMPAT": False,
    "LCORR": True,
    "LFINITE_TEMPERATURE": False,
    "LMAXPAW": -100,
    "LMODELHF": False,
    "LMONO": False,
    "LRHFCALC": False,
    "LSCSGRAD": True,
    "LSPIRAL": False,
    "LTHOMAS": False,
    "LZEROZ": False,
    "NKREDX": 1,
    "NKREDY": 1,
    "NKREDZ": 1,
    "NLSPLINE": False,
    "OFIELD_A": 0.0,
    "PARAM1": 0.1234,
    "PARAM2": 1.0,
    "PARAM3": 0.0,
    "SAXIS": [0.0, 0.0, 1.0],
    "SCALEE": 1.0,
    "VOSKOWN": 0,
    "ZAB_VDW": -0.8491,
}
# With exact exchange VASP reports the shares of the GGA and LDA that are left; then only an INCAR counts.
SHARES = ("AGGAC", "AGGAX", "ALDAC", "ALDAX")
# Compared under another name: functional, cutoff, spin, U, k-points, electrons, EDIFF.
COMPARED = frozenset(
    [
        *("ENCUT", "ENMAX", "GGA", "XC", "METAGGA", "LMETAGGA", "LHFCALC", "AEXX", "HFSCREEN", "ISPIN", "LDAU", "LVDW"),
        *("LDAUTYPE", "LDAUL", "LDAUU", "LDAUJ", "KSPACING", "KGAMMA", "NELECT", "EDIFF"),
    ]
)
# Compared only where both levels state them.
PAIRWISE = ("GGA", "LDAUTYPE")
EXCESS = "excess electrons per atom"
# What a level may state besides the tags that no table knows.
KNOWN = frozenset([*DETAILS, *DEFAULTS, *COMPARED, EXCESS])
_NUMERICAL = frozenset(tag for tags in NUMERICAL.values() for tag in tags)
_OF_THE_RUN = frozenset(tag for tags in OF_THE_RUN.values() for tag in tags)


def is_numerical(tag: str) -> bool:
    """Whether a converged result is the same, to its tolerance, whatever the tag says."""
    return tag.upper() in _NUMERICAL


def is_harmless(tag: str) -> bool:
    """Whether frames may be trained on together that differ in this tag; False for a tag that is not known."""
    return is_numerical(tag) or tag.upper() in _OF_THE_RUN or tag.upper().startswith(PREFIX_OF_THE_RUN)
