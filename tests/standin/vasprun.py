"""vasprun.xml as VASP 6.2.0 writes it, piece by piece.

`parameters.xml` is the section of that name of a VASP 6.2.0 run in the test data of aiida-vasp (MIT licence). What VASP
makes of other tags was looked up in the public vasprun.xml of pymatgen's and custodian's tests (VASP 5.2 to 6.4): of +U
<incar> has the full lists and <parameters> those of the first species, LDAUTYPE is a vector; METAGGA stands in <incar>
only, and LMETAGGA is F beside it; without ionic steps IBRION is -1, without WAVECAR ISTART is 0.
"""

import re
from pathlib import Path

import numpy as np

from .inputs import HUBBARD, INTEGERS, STRINGS
from .numbers import KBAR, fixed

TEMPLATE = Path(__file__).with_name("parameters.xml")
VERSION, BUILD = "6.2.0", "18Jan21 (build Nov 01 2026 12:00:00) complex"
IALGO = {"n": 38, "f": 68, "v": 48, "a": 58, "c": 58, "d": 53}


def header(job, started):
    parts = [
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n <generator>\n'
        '  <i name="program" type="string">vasp </i>\n'
        f'  <i name="version" type="string">{VERSION}  </i>\n'
        f'  <i name="subversion" type="string">{BUILD}                          parallel </i>\n'
        '  <i name="platform" type="string">LinuxGNU </i>\n'
        f'  <i name="date" type="string">{started:%Y %m %d} </i>\n'
        f'  <i name="time" type="string">{started:%H:%M:%S} </i>\n'
        " </generator>\n <incar>\n",
        *(f"  {_entry(tag, value)}\n" for tag, value in job.incar.items()),
        " </incar>\n",
        _primitive(job.poscar),
        _kpoints(job.kpoints),
        _parameters(job),
        _atominfo(job),
        structure(job.poscar.cell_A, job.poscar.fractions, "initialpos", " "),
    ]
    return "".join(parts)


def _primitive(poscar):
    """A second structure, which no reader may take for the first frame."""
    index = "".join(f'   <v type="int" >{i + 1:9d} </v>\n' for i in range(sum(poscar.counts)))
    return (
        " <primitive_cell>\n"
        + structure(poscar.cell_A, poscar.fractions, "primitive_cell")
        + f'  <varray name="primitive_index" >\n{index}  </varray>\n </primitive_cell>\n'
    )


def _text(tag, value):
    values = value if isinstance(value, list) else [value]
    if isinstance(value, bool):
        return f" {'T' if value else 'F'}  "
    if tag in STRINGS:
        return str(value)
    return "".join(f"{item:6d}" if tag in INTEGERS else fixed(item) for item in values)


def _entry(tag, value):
    kind = "logical" if isinstance(value, bool) else "string" if tag in STRINGS else "int" if tag in INTEGERS else ""
    attribute = f'type="{kind}" ' if kind else ""
    name = "v" if isinstance(value, list) or tag in HUBBARD else "i"
    return f'<{name} {attribute}name="{tag}">{_text(tag, value)}</{name}>'


def _parameters(job):
    incar, text = job.incar, TEMPLATE.read_text()
    atoms, charges = sum(job.poscar.counts), incar.get("LDAU", False)
    values = {tag: value for tag, value in incar.items() if tag not in ("ENCUT", "LREAL", "NBANDS", "LAMBDA")}
    values |= {
        "SYSTEM": incar.get("SYSTEM", "unknown system")[:40],
        "PREC": incar.get("PREC", "Normal").lower()[:6],
        "ENMAX": job.encut_eV,
        "ENINI": job.encut_eV,
        "NELECT": job.electrons,
        "NBANDS": bands(job),
        "IALGO": IALGO.get(incar.get("ALGO", "Normal")[0].lower(), 38),
        "ISPIN": incar.get("ISPIN", 1),
        "MAGMOM": incar.get("MAGMOM", [1.0] * atoms),
        "NELM": incar.get("NELM", 60),
        "EDIFF": incar.get("EDIFF", 1e-4),
        "NSW": incar.get("NSW", 0),
        "IBRION": incar.get("IBRION", 0) if incar.get("NSW", 0) > 0 else -1,
        "ISIF": incar.get("ISIF", 0 if job.molecular_dynamics else 2),
        "NUPDOWN": incar.get("NUPDOWN", -1.0),
        "ISMEAR": incar.get("ISMEAR", 1),
        "SIGMA": incar.get("SIGMA", 0.2),
        "ISTART": incar.get("ISTART", 0) if Path("WAVECAR").exists() else 0,
        "POTIM": incar.get("POTIM", 0.5),
        "LORBIT": incar.get("LORBIT", 0),
        "TEEND": incar.get("TEEND", incar.get("TEBEG", 1e-4)),
        "LREAL": bool(incar.get("LREAL", False)),
        "POMASS": [potcar.mass for potcar in job.potcars],
    }
    for tag, value in values.items():
        text = re.sub(
            rf'(<(?:i|v)[^>]* ?name="{tag}">)[^<]*(?=</)',
            lambda found, t=tag, v=value: found[1] + _typed(found[1], t, v),
            text,
        )
    first = {tag: np.atleast_1d(incar[tag])[:1].tolist() for tag in HUBBARD if charges and tag in incar}
    extra = first | ({"LDAUPRINT": incar.get("LDAUPRINT", 0)} if charges else {})
    added = "".join(f"\n  {_entry(tag, value)}" for tag, value in extra.items())
    return re.sub(r'(<i type="logical" name="LDAU">[^<]*</i>)', lambda found: found[1] + added, text)


def _typed(opening, tag, value):
    if 'type="logical"' in opening:
        return f" {'T' if value else 'F'}  "
    if 'type="int"' in opening:
        return "".join(f"{int(item):6d}" for item in (value if isinstance(value, list) else [value]))
    return str(value) if 'type="string"' in opening else _text("", value)


def bands(job):
    return int(job.incar.get("NBANDS", job.electrons // 2 + max(sum(job.poscar.counts) // 2, 3)))


def _kpoints(kpoints):
    vectors = np.eye(3) / np.array(kpoints.divisions)
    vector = "".join(
        f'   <v name="genvec{i + 1}">{"".join(f"{fixed(x)} " for x in row)}</v>\n' for i, row in enumerate(vectors)
    )
    return (
        f' <kpoints>\n  <generation param="{kpoints.style}">\n'
        f'   <v type="int" name="divisions">{"".join(f"{n:8d} " for n in kpoints.divisions)}</v>\n'
        f'   <v name="usershift">{"".join(f"{fixed(x)} " for x in kpoints.shift)}</v>\n{vector}'
        f'   <v name="shift">{"".join(f"{fixed(x)} " for x in kpoints.shift)}</v>\n  </generation>\n'
        + varray("kpointlist", kpoints.points, "  ")
        + varray("weights", kpoints.weights[:, None], "  ")
        + " </kpoints>\n"
    )


def _atominfo(job):
    poscar = job.poscar
    atoms = "".join(
        f"    <rc><c>{element:<2}</c><c>{index + 1:4d}</c></rc>\n"
        for index, (element, count) in enumerate(zip(poscar.types, poscar.counts, strict=True))
        for _ in range(count)
    )
    types = "".join(
        f"    <rc><c>{count:4d}</c><c>{potcar.element:<2}</c><c>{fixed(potcar.mass)}</c>"
        f"<c>{fixed(potcar.valence_e)}</c><c>  {potcar.title:<38}</c></rc>\n"
        for potcar, count in zip(job.potcars, poscar.counts, strict=True)
    )
    return (
        f" <atominfo>\n  <atoms>{sum(poscar.counts):8d} </atoms>\n  <types>{len(poscar.types):8d} </types>\n"
        '  <array name="atoms" >\n   <dimension dim="1">ion</dimension>\n   <field type="string">element</field>\n'
        f'   <field type="int">atomtype</field>\n   <set>\n{atoms}   </set>\n  </array>\n'
        '  <array name="atomtypes" >\n   <dimension dim="1">type</dimension>\n'
        '   <field type="int">atomspertype</field>\n'
        '   <field type="string">element</field>\n   <field>mass</field>\n   <field>valence</field>\n'
        f'   <field type="string">pseudopotential</field>\n   <set>\n{types}   </set>\n  </array>\n </atominfo>\n'
    )


def varray(name, values, indent):
    lines = "".join(f"{indent} <v>{''.join(f' {fixed(x)}' for x in row)} </v>\n" for row in values)
    return f'{indent}<varray name="{name}" >\n{lines}{indent}</varray>\n'


def structure(cell_A, fractions, name="", indent="  "):
    attribute = f' name="{name}" ' if name else ""
    inner = indent + "  "
    return (
        f"{indent}<structure{attribute}>\n{indent} <crystal>\n"
        + varray("basis", cell_A, inner)
        + f'{inner}<i name="volume">{fixed(abs(np.linalg.det(cell_A)))} </i>\n'
        + varray("rec_basis", np.linalg.inv(cell_A).T, inner)
        + f"{indent} </crystal>\n"
        + varray("positions", fractions, indent + " ")
        + f"{indent}</structure>\n"
    )


def scstep(free_eV, entropy_eV, full):
    """One electronic step; the first and the last have all the terms."""
    terms = {"alphaZ": 2.0, "ewald": -100.0, "hartreedc": -1.0, "XCdc": -8.0, "pawpsdc": 80.0, "pawaedc": -70.0}
    named = {**terms, "eentropy": entropy_eV, "bandstr": 21.5, "atom": 103.0} if full else {}
    named |= energies(free_eV, entropy_eV)
    lines = "".join(f'    <i name="{name}">{fixed(value)} </i>\n' for name, value in named.items())
    return (
        '  <scstep>\n   <time name="dav">    0.03    0.03</time>\n   <time name="total">    0.04    0.04</time>\n'
        f"   <energy>\n{lines}   </energy>\n  </scstep>\n"
    )


def energies(free_eV, entropy_eV):
    """−T·S lies between F and E without entropy; E(σ→0) is half way."""
    return {
        "e_fr_energy": free_eV,
        "e_wo_entrp": free_eV - entropy_eV,
        "e_0_energy": free_eV - 0.5 * entropy_eV,
    }


def ionic_step(job, frame, fractions, free_eV, entropy_eV, last):
    """What closes a <calculation>."""
    named = energies(free_eV, entropy_eV)
    if job.molecular_dynamics:
        named |= {"kinetic": frame.kinetic_eV, "lattice kinetic": 0.0, "nosepot": 0.0, "nosekinetic": 0.0}
        named["total"] = free_eV + frame.kinetic_eV
    lines = "".join(f'   <i name="{name}">{fixed(value)} </i>\n' for name, value in named.items())
    return (
        structure(job.poscar.cell_A, fractions)
        + varray("forces", frame.forces_eV_A, "  ")
        + varray("stress", -KBAR * frame.stress_eV_A3, "  ")
        + f'  <energy>\n{lines}  </energy>\n  <time name="totalsc">    0.60    0.60</time>\n'
        + (_eigenvalues(job) + _dos(job) if last else "")
        + " </calculation>\n"
    )


def _spins(job):
    return range(2 if job.spin else 1)


def _eigenvalues(job):
    filled = job.electrons / 2
    band = "".join(f"       <r> {-5 + 0.1 * n:9.4f} {float(n < filled):9.4f} </r>\n" for n in range(bands(job)))
    points = "".join(
        f'      <set comment="kpoint {k + 1}">\n{band}      </set>\n' for k in range(len(job.kpoints.points))
    )
    spins = "".join(f'     <set comment="spin {spin + 1}">\n{points}     </set>\n' for spin in _spins(job))
    return (
        '  <eigenvalues>\n   <array>\n    <dimension dim="1">band</dimension>\n'
        '    <dimension dim="2">kpoint</dimension>\n'
        '    <dimension dim="3">spin</dimension>\n    <field>eigene</field>\n    <field>occ</field>\n'
        f"    <set>\n{spins}    </set>\n   </array>\n  </eigenvalues>\n"
    )


def _dos(job):
    row = "".join(f"      <r> {-10 + n:11.4f} {0.1 * n:10.4f} {0.5 * n:10.4f} </r>\n" for n in range(21))
    spins = "".join(f'     <set comment="spin {spin + 1}">\n{row}     </set>\n' for spin in _spins(job))
    return (
        '  <dos>\n   <i name="efermi">      2.00000000 </i>\n   <total>\n    <array>\n'
        '     <dimension dim="1">gridpoints</dimension>\n     <dimension dim="2">spin</dimension>\n'
        "     <field>energy</field>\n     <field>total</field>\n     <field>integrated</field>\n"
        f"     <set>\n{spins}     </set>\n    </array>\n   </total>\n  </dos>\n"
    )


def footer(job, fractions):
    return structure(job.poscar.cell_A, fractions, "finalpos", " ") + "</modeling>\n"
