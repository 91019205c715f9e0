"""Small invented POTCARs: every keyword that codes look for, none of VASP's data."""

from pathlib import Path

from ase.data import atomic_masses, atomic_numbers

DATES = {"Na_pv": "19Sep2006", "V_pv": "07Sep2000", "V_sv": "02Aug2007", "P": "06Sep2000", "O": "08Apr2002"}
ENMAX_EV = {"Na_pv": 259.561, "V_pv": 263.673, "P": 255.040, "O": 400.000}
CONFIGURATIONS = {"Na": "p6s1", "V": "3p4s3d", "P": "s2p3", "O": "s2p4"}
LAYOUTS = ("POT_GGA_PAW_PBE_54", "potpaw_PBE.54", "")


def titel(label):
    return f"PAW_PBE {label} {DATES.get(label, '01Jan2000')}"


def potcar_text(label, valence_e):
    element = label.partition("_")[0]
    enmax = ENMAX_EV.get(label, 250.0)
    mass = atomic_masses[atomic_numbers[element]]
    return f"""\
  {titel(label)}
   {valence_e:.5f}
 parameters from PSCTR are:
   VRHFIN ={element}: {CONFIGURATIONS.get(element, "s1")}
   LEXCH  = PE
   EATOM  =   100.0000 eV,    7.3499 Ry

   TITEL  = {titel(label)}
   LULTRA =        F    use ultrasoft PP ?
   IUNSCR =        1    unscreen: 0-lin 1-nonlin 2-no
   RPACOR =    1.500    partial core radius
   POMASS = {mass:8.3f}; ZVAL   = {valence_e:8.3f}    mass and valenz
   RCORE  =    1.900    outmost cutoff radius
   RWIGS  =    2.480; RWIGS  =    1.312    wigner-seitz radius (au A)
   ENMAX  = {enmax:8.3f}; ENMIN  = {0.75 * enmax:8.3f} eV
   ICORE  =        2    local potential
   LCOR   =        T    correct aug charges
   LPAW   =        T    paw PP
   EAUG   =  322.069
   RMAX   =    1.950    core radius for proj-oper
   RAUG   =    1.300    factor for augmentation sphere
   RDEP   =    1.993    radius for radial grids
   RDEPT  =    1.837    core radius for aug-charge

   Atomic configuration
    1 entries
     n  l   j            E        occ.
     3  0  0.50       -10.0000 {valence_e:8.4f}
   Description
     l       E           TYP  RCUT    TYP  RCUT
     0    -10.0000000     23  1.900
   Error from kinetic energy argument (eV)
   NDATA  =      100
   STEP   =   20.000   1.050
     1.00      2.00
END of PSCTR-controll parameters
 local part
   1.0000000
 0.10000000E+01 0.20000000E+01
 End of Dataset
"""


def write_potcars(folder, valences_e):
    """POTCARs {label: ZVAL} in pymatgen's layout, in that of VASP's tar file, and as folder/label/POTCAR."""
    for label, valence_e in valences_e.items():
        for layout in LAYOUTS:
            path = Path(folder) / layout / label / "POTCAR"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(potcar_text(label, valence_e))
