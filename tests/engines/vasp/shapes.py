"""Small vasprun.xml of invented numbers, each shaped as its version of VASP writes it.

Looked up in the public vasprun.xml of the tests of pymatgen and custodian: until 5.3 LORBIT is a logical, until 6.1
strings begin with a blank and NELM and LASPH come twice, and some tags are listed that no INCAR has (LPEAD,
EFIELD_PEAD, KPOINT_BSE, LMAXTAU). +U stands in full in <incar> and for the first species in <parameters>, LDAUTYPE as
a vector.
"""

import numpy as np

VERSIONS = ("5.2.2", "5.2.11", "5.3.5", "5.4.4.18Apr17-6-g9f103f2a35", "6.3.2")
# Element, atoms, valence electrons of an atom, POTCAR.
TYPES = (
    ("Na", 1, 7, "PAW_PBE Na_pv 19Sep2006"),
    ("V", 2, 11, "PAW_PBE V_pv 07Sep2000"),
    ("O", 4, 6, "PAW_PBE O 08Apr2002"),
)
ELECTRONS = sum(count * valence for _, count, valence, _ in TYPES)
ATOMS = sum(count for _, count, _, _ in TYPES)


def tag(name, value, kind=""):
    """An item as VASP writes it: numbers in their columns, a list as a vector."""
    values = value if isinstance(value, list) else [value]
    if isinstance(value, bool):
        return f'  <i type="logical" name="{name}"> {"T" if value else "F"}  </i>\n'
    if isinstance(value, str):
        return f'  <i type="string" name="{name}">{value}</i>\n'
    integer = all(isinstance(item, int) for item in values)
    text = "".join(f"{item:6d}" if integer else f"{item:16.8f}" for item in values)
    item = "v" if isinstance(value, list) else "i"
    return f'  <{item} {"type=" + chr(34) + "int" + chr(34) + " " if integer else ""}name="{name}">{text}</{item}>\n'


def hubbard(species, u_eV, ldau_type=2, j_eV=0.0):
    """+U on V, of the first so many species."""
    symbols = [symbol for symbol, *_ in TYPES][:species]
    lists = {
        "LDAUTYPE": [ldau_type],
        "LDAUL": [2 if symbol == "V" else -1 for symbol in symbols],
        "LDAUU": [u_eV if symbol == "V" else 0.0 for symbol in symbols],
        "LDAUJ": [j_eV if symbol == "V" else 0.0 for symbol in symbols],
    }
    return tag("LDAU", True) + "".join(tag(name, values) for name, values in lists.items())


def incar_of(version, further, u_eV, **of_u):
    """<incar> as that version writes it."""
    old, blank = version < "6", " " if version < "6.2" else ""
    lines = [
        tag("PREC", "accurate" if old else "Accurate"),
        tag("ALGO", f"{blank}Normal"),
        tag("ISPIN", 2),
        tag("NELM", 60),
        tag("IBRION", -1),
        tag("EDIFF", 1e-6),
        tag("ENCUT", 520.0),
        tag("MAGMOM", [0.6] + [5.0] * 2 + [0.6] * (ATOMS - 3)),
        tag("LREAL", f"{blank}Auto"),
        tag("ISMEAR", 0),
        tag("SIGMA", 0.05),
        tag("LMAXMIX", 4),
        tag("LORBIT", False) if version < "5.4" else tag("LORBIT", 11),
        tag("LASPH", True),
    ]
    if version < "5.3":
        lines += [tag("LPEAD", False), tag("LCALCPOL", False), tag("EFIELD_PEAD", [0.0, 0.0, 0.0]), tag("LEFG", False)]
        lines += [tag("METAGGA", "--"), tag("LMAXTAU", 0)] if version == "5.2.11" else []
    if "5.4" <= version < "6":
        lines += [tag("KPOINT_BSE", [-1, 0, 0, 0])]
    if old:
        lines += [tag("NELM", 60), tag("LASPH", True)]
    lines += [hubbard(len(TYPES), u_eV, **of_u)] if u_eV else []
    return "".join(lines) + "".join(tag(name, value) for name, value in further.items())


def parameters_of(version, further, u_eV, electrons, **of_u):
    """<parameters> as far as a level of theory is read from it; from 5.4 with a LAMBDA of the response functions."""
    plain = {
        "PREC": "accura", "ENMAX": 520.0, "ENAUG": 605.392, "EDIFF": 1e-6, "IALGO": 38, "NELECT": float(electrons),
        "ISMEAR": 0, "SIGMA": 0.05, "LREAL": True, "LMAXPAW": -100, "LMAXMIX": 4, "ISTART": 0, "ICHARG": 2, "ISPIN": 2,
        "LNONCOLLINEAR": False, "NUPDOWN": -1.0, "LSORBIT": False, "LASPH": True, "LMETAGGA": False, "NELM": 60,
        "LDIPOL": False, "LMONO": False, "IDIPOL": 0, "EPSILON": 1.0, "EFIELD": 0.0, "ADDGRID": False, "NSW": 0,
        "IBRION": -1, "PSTRESS": 0.0, "LCORR": True, "GGA_COMPAT": True, "ICORELEVEL": 0, "LDAU": False,
        "I_CONSTRAINED_M": 0, "GGA": "--", "LHFCALC": False, "AEXX": 0.0, "AGGAC": 1.0,
    }  # fmt: skip
    plain |= {"LAMBDA": 1.0} if version >= "5.4" else {}
    plain |= {name: value for name, value in further.items() if name in plain and name != "LAMBDA"}
    parts = {name: tag(name, value) for name, value in plain.items()}
    if u_eV:
        parts["LDAU"] = hubbard(1, u_eV, **of_u) + tag("LDAUPRINT", 0)
    return "".join(parts.values())


def vasprun(version, u_eV=0.0, *, energy_eV=-20.0, shift=0.0, electrons=ELECTRONS, incar=None, **of_u):
    """A converged single point; `incar` are tags set besides, `shift` moves an atom, so that geometries differ."""
    rng = np.random.default_rng(3)
    fractions = rng.random((ATOMS, 3)) + shift * np.eye(ATOMS, 3)
    forces = 0.1 * np.vstack([np.eye(3), -np.eye(3), np.zeros((ATOMS - 6, 3))])
    further = incar or {}
    atoms = "".join(
        f"    <rc><c>{symbol:<2}</c><c>{index + 1:4d}</c></rc>\n"
        for index, (symbol, count, *_) in enumerate(TYPES)
        for _ in range(count)
    )
    types = "".join(
        f"    <rc><c>{count:4d}</c><c>{symbol:<2}</c><c>     20.00000000</c><c>{valence:16.8f}</c>"
        f"<c>  {title:<38}</c></rc>\n"
        for symbol, count, valence, title in TYPES
    )
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n <generator>\n'
        '  <i name="program" type="string">vasp </i>\n'
        f'  <i name="version" type="string">{version}  </i>\n </generator>\n'
        f" <incar>\n{incar_of(version, further, u_eV, **of_u)} </incar>\n"
        ' <kpoints>\n  <generation param="Gamma">\n   <v type="int" name="divisions">       2        2        2 </v>\n'
        "  </generation>\n </kpoints>\n"
        f" <parameters>\n{parameters_of(version, further, u_eV, electrons, **of_u)} </parameters>\n"
        f' <atominfo>\n  <array name="atoms" >\n   <set>\n{atoms}   </set>\n  </array>\n'
        f'  <array name="atomtypes" >\n   <set>\n{types}   </set>\n  </array>\n </atominfo>\n'
        f"{_structure(fractions, ' name=' + chr(34) + 'initialpos' + chr(34) + ' ')} <calculation>\n"
        + "".join(f"  <scstep>\n{_energy(energy_eV + rest)}  </scstep>\n" for rest in (1.0, 0.01, 1e-7, 0.0))
        + f"{_structure(fractions)}{_varray('forces', forces)}{_energy(energy_eV)} </calculation>\n</modeling>\n"
    )


def _varray(name, rows):
    lines = "".join(f"   <v>{''.join(f'{x:16.8f}' for x in row)} </v>\n" for row in rows)
    return f'  <varray name="{name}" >\n{lines}  </varray>\n'


def _structure(fractions, name=""):
    basis, positions = _varray("basis", 6.0 * np.eye(3)), _varray("positions", fractions)
    return f" <structure{name}>\n  <crystal>\n{basis}  </crystal>\n{positions} </structure>\n"


def _energy(energy_eV):
    names = ("e_fr_energy", "e_wo_entrp", "e_0_energy")
    return "   <energy>\n" + "".join(f'    <i name="{n}">{energy_eV:16.8f} </i>\n' for n in names) + "   </energy>\n"
