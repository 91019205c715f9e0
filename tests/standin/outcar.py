"""OUTCAR as VASP 6.2.0 writes it, piece by piece; what no reader looks at is left out."""

import numpy as np

from .numbers import KBAR, exponent, fixed
from .vasprun import BUILD, VERSION, bands

RULE = "-" * 104
BLANK_RULE = f"\n\n{RULE}\n\n\n"


def header(job, started):
    return "".join((_begin(job, started), _potcars(job), _symmetry(job), _dimensions(job), _settings(job), _setup(job)))


def _begin(job, started):
    return (
        f" vasp.{VERSION} {BUILD}\n \n executed on             LinuxGNU date {started:%Y.%m.%d  %H:%M:%S}\n"
        " running on    4 total cores\n distrk:  each k-point on    4 cores,    1 groups\n"
        f" distr:  one band on NCORES_PER_BAND=   1 cores,    4 groups\n{BLANK_RULE}"
    )


def _potcars(job):
    names = "".join(f" POTCAR:    {potcar.title:<38}\n" for potcar in job.potcars)
    blocks = "".join(
        f"   VRHFIN ={potcar.vrhfin}\n   LEXCH  = PE\n   EATOM  =   100.0000 eV,    7.3499 Ry\n\n"
        f"   TITEL  = {potcar.title}\n   LULTRA =        F    use ultrasoft PP ?\n"
        f"   POMASS = {potcar.mass:8.3f}; ZVAL   = {potcar.valence_e:8.3f}    mass and valenz\n"
        f"   ENMAX  = {potcar.enmax_eV:8.3f}; ENMIN  = {0.75 * potcar.enmax_eV:8.3f} eV\n"
        "   LPAW   =        T    paw PP\n\n"
        for potcar in job.potcars
    )
    # Every name comes twice, as in real files; readers count on it.
    title = job.incar.get("SYSTEM", "unknown system")
    tags = "".join(f"   {tag} = {words}\n" for tag, words in job.words.items())
    return (
        f" INCAR:\n{tags}\n{names}{names}{blocks}\n\n POSCAR: {title:<40}\n  positions in direct lattice\n{BLANK_RULE}"
    )


def _symmetry(job):
    kpoints = job.kpoints
    n = len(kpoints.points)
    points = "".join(
        f"{''.join(f'{x:10.6f}' for x in point)}  {weight * np.prod(kpoints.divisions):12.6f}\n"
        for point, weight in zip(kpoints.points, kpoints.weights, strict=True)
    )
    grid = "".join(f"{division:5d}" for division in kpoints.divisions)
    return (
        f" KPOINTS: automatic mesh\n\nAutomatic generation of k-mesh.\n Grid dimensions read from file:\n"
        f" generate k-points for:{grid}\n\n Subroutine IBZKPT returns following result:\n"
        f" ===========================================\n\n Found {n:6d} irreducible k-points:\n\n"
        f" Following reciprocal coordinates:\n            Coordinates               Weight\n{points}\n{BLANK_RULE}"
    )


def _dimensions(job):
    n, counts = len(job.kpoints.points), "".join(f"{count:4d}" for count in job.poscar.counts)
    return (
        f"\n\n Dimension of arrays:\n   k-points           NKPTS = {n:6d}   k-points in BZ     NKDIM = {n:6d}   "
        f"number of bands    NBANDS= {bands(job):6d}\n"
        "   number of dos      NEDOS =    301   number of ions     NIONS = "
        f"{sum(job.poscar.counts):6d}\n   non local maximal  LDIM  =      4   non local SUM 2l+1 LMDIM =      8\n"
        "   total plane-waves  NPLWV =   1000\n   dimension x,y,z NGX =    10 NGY =   10 NGZ =   10\n"
        "   dimension x,y,z NGXF=    20 NGYF=   20 NGZF=   20\n   support grid    NGXF=    20 NGYF=   20 NGZF=   20\n"
        f"   ions per type =            {counts}\n\n SYSTEM =  {job.incar.get('SYSTEM', 'unknown system')[:40]:<40}\n"
        f" POSCAR =  {job.poscar.comment[:40]:<40}\n\n"
    )


def _settings(job):
    get = job.incar.get
    spin, kpoint = get("ISPIN", 1), get("IBRION", 0 if get("NSW", 0) > 0 else -1)
    valences = "".join(f"{potcar.valence_e:7.2f}" for potcar in job.potcars)
    masses = "".join(f"{potcar.mass:7.2f}" for potcar in job.potcars)
    hubbard = ""
    if get("LDAU", False):
        hubbard = (
            f" LDA+U is selected, type is set to LDAUTYPE = {get('LDAUTYPE', 2):2d}\n"
            f"   angular momentum for each species LDAUL = {''.join(f'{x:5d}' for x in get('LDAUL', []))}\n"
            f"   U (eV)           for each species LDAUU = {''.join(f'{x:5.1f}' for x in get('LDAUU', []))}\n"
            f"   J (eV)           for each species LDAUJ = {''.join(f'{x:5.1f}' for x in get('LDAUJ', []))}\n"
        )
    return (
        f" Startparameter for this run:\n   NWRITE = {get('NWRITE', 2):6d}    write-flag & timer\n"
        f"   PREC   = {get('PREC', 'Normal').lower()[:6]:<9} normal or accurate (medium, high low for compatibility)\n"
        f"   ISTART = {get('ISTART', 0):6d}    job   : 0-new  1-cont  2-samecut\n"
        f"   ICHARG = {get('ICHARG', 2):6d}    charge: 1-file 2-atom 10-const\n"
        f"   ISPIN  = {spin:6d}    spin polarized calculation?\n   LNONCOLLINEAR =      F non collinear calculations\n"
        "   LSORBIT =      F    spin-orbit coupling\n"
        f"   LASPH  = {'T' if get('LASPH') else 'F':>6}    aspherical Exc\n\n"
        f" Electronic Relaxation 1\n   ENCUT  = {job.encut_eV:6.1f} eV  {job.encut_eV / 13.605826:5.2f} Ry\n"
        f"   NELM   = {get('NELM', 60):6d};   NELMIN={get('NELMIN', 2):3d}; NELMDL={get('NELMDL', -5):3d}     # of "
        "ELM steps \n"
        f"   EDIFF  = {exponent(get('EDIFF', 1e-4), 1)}   stopping-criterion for ELM\n Ionic relaxation\n"
        f"   NSW    = {get('NSW', 0):6d}    number of steps for IOM\n"
        f"   IBRION = {kpoint:6d}    ionic relax: 0-MD 1-quasi-New 2-CG\n"
        f"   ISIF   = {get('ISIF', 2):6d}    stress and relaxation\n"
        f"   ISYM   = {get('ISYM', 2):6d}    0-nonsym 1-usesym 2-fastsym\n"
        f"   POTIM  ={get('POTIM', 0.5):7.4f}    time-step for ionic-motion\n"
        f"   TEBEG  ={get('TEBEG', 0.0):7.1f};   TEEND  ={get('TEEND', get('TEBEG', 0.0)):6.1f} temperature during "
        "run\n\n"
        f"  Mass of Ions in am\n   POMASS ={masses}\n  Ionic Valenz\n   ZVAL   ={valences}\n"
        f"   NELECT = {job.electrons:12.4f}    total number of electrons\n"
        f"   ISMEAR = {get('ISMEAR', 1):5d};   SIGMA  ={get('SIGMA', 0.2):7.2f}  broadening in eV -4-tet -1-fermi "
        "0-gaus\n\n"
        f" Electronic relaxation 2 (details)\n   IALGO  =     38    algorithm\n{hubbard}\n Write flags\n"
        f"   LORBIT       = {get('LORBIT', 0):6d}    0 simple, 1 ext, 2 COOP (PROOUT), +10 PAW based schemes\n"
        f"{BLANK_RULE}"
    )


def _cell(cell_A):
    lines = "".join(
        "    " + "".join(f"{x:13.9f}" for x in direct) + "    " + "".join(f"{x:13.9f}" for x in reciprocal) + "\n"
        for direct, reciprocal in zip(cell_A, np.linalg.inv(cell_A).T, strict=True)
    )
    return f"      direct lattice vectors                 reciprocal lattice vectors\n{lines}"


def _setup(job):
    kpoints = job.kpoints
    points = "".join(
        f"{''.join(f'{x:13.8f}' for x in point)} {weight:11.3f}\n"
        for point, weight in zip(kpoints.points, kpoints.weights, strict=True)
    )
    waves = "".join(
        f" k-point {i + 1:3d} : {''.join(f'{x:9.4f}' for x in point)}  plane waves:     137\n"
        for i, point in enumerate(kpoints.points)
    )
    return (
        f"  energy-cutoff  : {job.encut_eV:11.2f}\n  volume of cell : {abs(np.linalg.det(job.poscar.cell_A)):11.2f}\n"
        f"{_cell(job.poscar.cell_A)}\n\n k-points in reciprocal lattice and weights: automatic mesh\n{points}\n"
        f"{BLANK_RULE}{waves}\n maximum and minimum number of plane-waves per node :       137      137\n{BLANK_RULE}"
    )


def iteration(job, step, electronic, free_eV, entropy_eV, change_eV, moment_muB):
    title = f" Iteration {step:6d}({electronic:4d})  "
    shown = f"{moment_muB:15.7f}" if job.spin else ""
    return (
        f"{'-' * 39}{title}{'-' * 39}\n\n\n    POTLOK:  cpu time    0.0058: real time    0.0058\n"
        "      LOOP:  cpu time    0.0387: real time    0.0387\n\n eigenvalue-minimisations  :   959\n"
        f" total energy-change (2. order) :{exponent(change_eV, 7)}  ({exponent(change_eV, 7)})\n"
        f" number of electron {job.electrons:15.7f} magnetization {shown}\n"
        f" augmentation part  {job.electrons:15.7f} magnetization {shown}\n\n{occupations(job)}"
        " Free energy of the ion-electron system (eV)\n  ---------------------------------------------------\n"
        f"  alpha Z        PSCENC = {fixed(2.0, 18)}\n  Ewald energy   TEWEN  = {fixed(-100.0, 18)}\n"
        f"  entropy T*S    EENTRO = {fixed(entropy_eV, 18)}\n  ---------------------------------------------------\n"
        f"  free energy    TOTEN  = {fixed(free_eV, 18)} eV\n\n"
        f"  energy without entropy = {fixed(free_eV - entropy_eV, 18)}  energy(sigma->0) = "
        f"{fixed(free_eV - entropy_eV / 2, 18)}\n{BLANK_RULE}\n"
    )


def occupations(job):
    """Matrices of LDAUPRINT; their first elements are the first and the second coordinate of the atom."""
    if not job.incar.get("LDAUPRINT", 0):
        return ""
    shells, blocks = np.repeat(job.incar["LDAUL"], job.poscar.counts), ""
    kinds = np.repeat(np.arange(len(job.poscar.types)), job.poscar.counts)
    for atom in np.flatnonzero(shells >= 0):
        blocks += f"atom = {atom + 1:4d}  type = {kinds[atom] + 1:2d}  l = {shells[atom]}\n\n onsite density matrix\n\n"
        for spin, first in enumerate(job.poscar.fractions[atom, :2] % 1):
            matrix = np.diag([first, *[0.1] * (2 * shells[atom])])
            rows = "".join("".join(f"{x:8.4f}" for x in row) + "\n" for row in matrix)
            blocks += f"spin component {spin + 1:2d}\n\n{rows}\n"
        blocks += " occupancies and eigenvectors\n\n"
    return blocks


def loop_end(converged):
    text = (
        " aborting loop because EDIFF is reached "
        if converged
        else " aborting loop EDIFF was not reached (unconverged)  "
    )
    rule = f"{'-' * 24}{text}{'-' * (104 - 24 - len(text))}"
    return f"{rule}\n\n\n E-fermi :   2.0000     XC(G=0):  -9.3860     alpha+bet :-11.7317\n\n"


def moments(job, frame):
    """Charge and moment inside the spheres; three columns of orbitals and their sum."""
    if job.incar.get("LORBIT", 0) < 10:
        return ""
    charge = np.array([potcar.valence_e for potcar in job.potcars]).repeat(job.poscar.counts)
    tables = [("total charge", charge)] + ([("magnetization (x)", frame.moments_muB)] if job.spin else [])
    return "".join(_spheres(title, values) for title, values in tables)


def _spheres(title, values):
    lines = "".join(f"{i + 1:5d}     {0.0:8.3f}{0.0:8.3f}{x:8.3f}{x:8.3f}\n" for i, x in enumerate(values))
    total = (
        f"{'-' * 42}\ntot       {0.0:8.3f}{0.0:8.3f}{sum(values):8.3f}{sum(values):8.3f}\n" if len(values) > 1 else ""
    )
    return f"\n\n {title}\n\n# of ion       s       p       d       tot\n{'-' * 42}\n{lines}{total}\n"


def ionic_step(job, frame, positions_A, free_eV, entropy_eV, temperature_line):
    stress = -KBAR * frame.stress_eV_A3
    kbar = [stress[0, 0], stress[1, 1], stress[2, 2], stress[0, 1], stress[1, 2], stress[2, 0]]
    total = [x * abs(np.linalg.det(job.poscar.cell_A)) / KBAR for x in kbar]
    atoms = "".join(
        f"{''.join(fixed(x, 13, 5) for x in position)}    {''.join(fixed(x, 14, 6) for x in force)}\n"
        for position, force in zip(positions_A, frame.forces_eV_A, strict=True)
    )
    drift = "".join(fixed(x, 14, 6) for x in frame.forces_eV_A.sum(axis=0))
    line = f" {'-' * 83}\n"
    return (
        "  FORCE on cell =-STRESS in cart. coord.  units (eV):\n  Direction    XX          YY          ZZ          XY"
        f"          YZ          ZX\n  {'-' * 86}\n  Total {''.join(fixed(x, 12, 5) for x in total)}\n"
        f"  in kB {''.join(fixed(x, 12, 5) for x in kbar)}\n  external pressure = {sum(kbar[:3]) / 3:11.2f} kB  "
        "Pullay stress =        0.00 kB\n\n\n VOLUME and BASIS-vectors are now :\n"
        f" {'-' * 77}\n  energy-cutoff  : {job.encut_eV:11.2f}\n{_cell(job.poscar.cell_A)}\n\n"
        f" POSITION                                       TOTAL-FORCE (eV/Angst)\n{line}{atoms}{line}"
        f"    total drift:                        {drift}\n{BLANK_RULE}\n"
        "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  ---------------------------------------------------\n"
        f"  free  energy   TOTEN  = {fixed(free_eV, 18)} eV\n\n"
        f"  energy  without entropy={fixed(free_eV - entropy_eV, 18)}  energy(sigma->0) "
        f"={fixed(free_eV - entropy_eV / 2, 18)}\n\n"
        f"{temperature_line}{BLANK_RULE}     LOOP+:  cpu time    0.6574: real time    0.6575\n"
    )


def temperature(frame, free_eV):
    return (
        f"  kinetic energy EKIN   = {fixed(frame.kinetic_eV, 17, 6)}\n"
        f"  kin. lattice  EKIN_LAT= {fixed(0.0, 17, 6)}  (temperature {frame.temperature_K:7.2f} K)\n"
        f"  total energy   ETOTAL = {fixed(free_eV + frame.kinetic_eV, 17, 6)} eV\n"
    )


def footer():
    return (
        "\n total amount of memory used by VASP MPI-rank0    32203. kBytes\n"
        f"{'=' * 71}\n\n  \n  \n General timing and accounting informations for this job:\n {'=' * 56}\n  \n"
        "                  Total CPU time used (sec):        3.086\n"
        "                            User time (sec):        3.005\n"
        "                          System time (sec):        0.080\n"
        "                         Elapsed time (sec):        4.110\n  \n"
        "                   Maximum memory used (kb):       69840.\n"
        "                   Average memory used (kb):          N/A\n  \n"
        "                          Minor page faults:         4791\n"
        "                          Major page faults:            2\n"
        "                 Voluntary context switches:         1103\n"
    )
