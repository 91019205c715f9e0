"""INCAR tags that do not change energies and forces of a geometry, with the reasons; defaults of the tags that do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Converged results agree to their tolerance whatever these tags say. Not part of the settings hash.
NUMERICAL: Mapping[str, tuple[str, ...]] = {
    "electronic minimisation and its limits: a loop that does not converge is refused": (
        *("ALGO", "IALGO", "ISEARCH", "NELM", "NELMIN", "NELMDL", "TIME", "LDIAG", "LSUBROT", "EFERMI", "INIWAV"),
        "NBANDS",
    ),
    "mixing: it changes the path to self-consistency, not its result": (
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
# Frames agree, although the run visits other geometries or takes longer. Part of the settings hash.
RUN_TAGS: Mapping[str, tuple[str, ...]] = {
    "which geometries are visited, not their energies (pV of PSTRESS is subtracted)": (
        *("NSW", "IBRION", "ISIF", "POTIM", "TEBEG", "TEEND", "SMASS", "MDALGO", "RANDOM_SEED", "PSTRESS", "PMASS"),
        *("LANGEVIN_GAMMA", "LANGEVIN_GAMMA_L", "ANDERSEN_PROB", "CSVR_PERIOD", "NHC_NCHAINS", "NHC_PERIOD"),
        *("NHC_NRESPA", "NHC_NS", "NSUBSYS", "TSUBSYS", "PSUBSYS", "LATTICE_CONSTRAINTS", "SHAKETOL", "SHAKEMAXITER"),
        *("EDIFFG", "NFREE", "IWAVPR", "NPACO", "APACO"),
    ),
    "further limits of the minimisation and of the mixing": (
        *("LMAXMIX", "LMIXTAU", "MIXFIRST", "MREMOVE", "EBREAK", "DEPER", "WEIMIN", "NRMM", "ENINI", "NELMHF"),
        *("LFOCKACE", "NBLK", "LORBITALREAL", "MAXMEM", "NCSHMEM", "LUSENCCL", "NCORE_IN_IMAGE1"),
    ),
    "evaluation after self-consistency: spectra, projections, band paths": (
        *("NEDOS", "EMIN", "EMAX", "RWIGS", "LOPTICS", "CSHIFT", "LEFG", "LCALCPOL", "LHYPERFINE", "LORBMOM"),
        *("LEPSILON", "LCALCEPS", "LCHIMAG", "LPEAD", "LNABLA", "LVEL", "LRPA", "OMEGAMAX"),
        *("KPOINT_BSE", "LKPOINTS_OPT", "KPOINTS_OPT_MODE", "LDAUPRINT", "LDOWNSAMPLE", "IDIOT", "LCHARGH5"),
        *("LWAVEH5", "LKPROJ", "QUAD_EFG", "NGYROMAG", "LBLUEOUT"),
    ),
    "set by VASP itself, from LASPH and the potentials": ("LMAXTAU",),
}
# VASP's force field (ML_LMLFF) selects the steps computed by DFT; frames that it predicts are refused.
RUN_TAG_PREFIX = "ML_"
# Further tags that change energies by more than meV/atom, with VASP's defaults; every level states them.
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
# Tags with another default than "off", or that VASP reports even if they are not set; a level states those that differ
# from the default. A tag in none of these tables is compared if an INCAR has it, unless it is harmless.
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
# With exact exchange VASP reports the remaining shares of GGA and LDA; then these tags count only in an INCAR.
GGA_SHARES = ("AGGAC", "AGGAX", "ALDAC", "ALDAX")
# Compared by a field of the level: functional, cutoff, spin, U, k-points, electrons, EDIFF.
COMPARED = frozenset(
    [
        *("ENCUT", "ENMAX", "GGA", "XC", "METAGGA", "LMETAGGA", "LHFCALC", "AEXX", "HFSCREEN", "ISPIN", "LDAU", "LVDW"),
        *("LDAUTYPE", "LDAUL", "LDAUU", "LDAUJ", "KSPACING", "KGAMMA", "NELECT", "EDIFF"),
    ]
)
EXCESS_ELECTRONS = "excess electrons per atom"
# Compared only if both levels state them.
PAIRWISE = ("GGA", "LDAUTYPE", EXCESS_ELECTRONS)
# Details of a level that are in a table; a level may state further tags.
TABULATED = frozenset([*DETAILS, *DEFAULTS, *COMPARED, EXCESS_ELECTRONS])
_NUMERICAL = frozenset(tag for tags in NUMERICAL.values() for tag in tags)
_RUN_TAGS = frozenset(tag for tags in RUN_TAGS.values() for tag in tags)


def is_numerical(tag: str) -> bool:
    """Whether a converged result is independent of the tag, to its tolerance."""
    return tag.upper() in _NUMERICAL


def is_harmless(tag: str) -> bool:
    """Whether frames that differ in this tag may be trained on together; False for an unknown tag."""
    return is_numerical(tag) or tag.upper() in _RUN_TAGS or tag.upper().startswith(RUN_TAG_PREFIX)
