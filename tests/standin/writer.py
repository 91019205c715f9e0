"""All the files of a run, written as it goes, so that a run that is cut leaves what VASP would leave."""

import datetime
import math
from pathlib import Path

import numpy as np

from . import outcar, vasprun
from .numbers import exponent

# T·S in eV for each atom and eV of SIGMA: enough that the three energies of VASP differ.
ENTROPY = 0.01
COLUMNS = "       N       E                     dE             d eps       ncg     rms          rms(c)\n"


class Writer:
    """Open files of a run in the current folder."""

    def __init__(self, job):
        self.job = job
        self.started = datetime.datetime.now()
        names = ("vasprun.xml", "OUTCAR", "OSZICAR", "XDATCAR") + (("REPORT",) if job.molecular_dynamics else ())
        # They stay open as long as the process lives.
        self.files = {name: Path(name).open("w") for name in names}  # noqa: SIM115
        self.entropy_eV = -ENTROPY * job.incar.get("SIGMA", 0.2) * sum(job.poscar.counts)
        self._write("vasprun.xml", vasprun.header(job, self.started))
        self._write("OUTCAR", outcar.header(job, self.started))
        self._write("XDATCAR", poscar_head(job))
        types = " ".join(f"{element:<2}" for element in job.poscar.types)
        print(" running on    4 total cores\n distrk:  each k-point on    4 cores,    1 groups")
        print(f" vasp.{vasprun.VERSION} {vasprun.BUILD}\n POSCAR found type information on POSCAR {types}")
        print(f" POSCAR found :{len(job.poscar.types):3d} types and {sum(job.poscar.counts):7d} ions")
        print(" POSCAR, INCAR and KPOINTS ok, starting setup\n FFT: planning ...(           1 )")
        print(f" WAVECAR {'' if job.incar.get('ISTART', 0) else 'not '}read\n entering main loop", flush=True)

    def begin_step(self):
        self._write("vasprun.xml", " <calculation>\n")
        self._both(COLUMNS)

    def electronic(self, step, electronic, energy_eV, change_eV, full, moment_muB):
        free = energy_eV + 0.5 * self.entropy_eV
        self._write("vasprun.xml", vasprun.scstep(free, self.entropy_eV, full))
        line = outcar.iteration(self.job, step + 1, electronic + 1, free, self.entropy_eV, change_eV, moment_muB)
        self._write("OUTCAR", line)
        change, last = exponent(change_eV, 5), exponent(change_eV, 5)
        self._both(f"DAV: {electronic + 1:3d}    {exponent(free, 12)}   {change}   {last}   960   0.100E+01\n")

    def ionic(self, step, frame, converged, last):
        job, free = self.job, frame.energy_eV + 0.5 * self.entropy_eV
        fractions = wrapped(frame.positions_A, job.poscar.cell_A)
        md = outcar.temperature(frame, free) if job.molecular_dynamics else ""
        positions = fractions @ job.poscar.cell_A
        block = outcar.ionic_step(job, frame, positions, free, self.entropy_eV, md)
        self._write("OUTCAR", outcar.loop_end(converged) + outcar.moments(job, frame) + block)
        self._write("vasprun.xml", vasprun.ionic_step(job, frame, fractions, free, self.entropy_eV, last))
        rows = "".join("".join(f"{x:12.8f}" for x in row) + "\n" for row in fractions)
        self._write("XDATCAR", f"Direct configuration={step + 1:6d}\n{rows}")
        self._both(self._summary(step, frame, free))

    def report(self, step, frame, seed):
        """One MD step, with the seed that the next one starts from."""
        self._write(
            "REPORT",
            f"\n{'=' * 40}\n       MD step No. {step + 1:7d}\n{'=' * 40}\n             >Temperature\n"
            "                T_sim     T_inst\n"
            f"   tmprt> {self.job.incar.get('TEBEG', 0):10.3f} {frame.temperature_K:10.3f}\n\n"
            f" RANDOM_SEED = {''.join(f'{number:17d}' for number in seed)}\n",
        )

    def contcar(self, positions_A, velocities_A_fs):
        fractions = wrapped(positions_A, self.job.poscar.cell_A)
        lines = [f"{''.join(f'{x:20.16f}' for x in row)}" for row in fractions]
        if velocities_A_fs is not None:
            lines += ["", *(" ".join(exponent(x) for x in row) for row in velocities_A_fs)]
        Path("CONTCAR").write_text(poscar_head(self.job) + "Direct\n" + "\n".join(lines) + "\n")

    def say(self, name, text):
        self._write(name, text)

    def finish(self, positions_A):
        job = self.job
        self._write("vasprun.xml", vasprun.footer(job, wrapped(positions_A, job.poscar.cell_A)))
        self._write("OUTCAR", outcar.footer())
        if job.incar.get("LWAVE", True):
            Path("WAVECAR").write_bytes(b"the stand-in's wave functions\n")
        print(" writing wavefunctions", flush=True)

    def charge(self, atoms):
        """CHGCAR: ρ·V of the toy's Gaussians, with the valence of the POTCARs, and the spin density."""
        from redoxmd.engines import toy

        job = self.job
        valence = np.repeat([potcar.valence_e for potcar in job.potcars], job.poscar.counts)
        valence = valence * job.electrons / valence.sum()
        shape = [max(8, 2 * round(length / toy.GRID_SPACING_A / 2)) for length in atoms.cell.lengths()]
        weights = [valence - toy.bader_charges(atoms)] + ([toy.moments(atoms)] if job.spin else [])
        rows = "".join("".join(f"{x:10.6f}" for x in row) + "\n" for row in atoms.get_scaled_positions())
        text = f"{poscar_head(job)}Direct\n{rows}\n"
        for weight in weights:
            grid = toy._superpose(atoms, weight, shape) * atoms.get_volume()
            text += "".join(f"{n:5d}" for n in shape) + "\n" + _five(grid.ravel(order="F"))
            text += "".join(
                f"augmentation occupancies{i + 1:4d}{4:4d}\n{_five(np.zeros(4))}" for i in range(len(atoms))
            )
            if weight is not weights[-1]:
                text += _five(toy.moments(atoms))
        Path("CHGCAR").write_text(text)

    def flush(self):
        for file in self.files.values():
            file.flush()

    def _summary(self, step, frame, free):
        zero = f"E0= {exponent(frame.energy_eV)}"
        mag = f"  mag= {frame.moments_muB.sum():10.4f}" if self.job.spin else ""
        if not self.job.molecular_dynamics:
            return f"{step + 1:4d} F= {exponent(free)} {zero}  d E ={exponent(self.entropy_eV, 6)}{mag}\n"
        total = free + frame.kinetic_eV
        return (
            f"{step + 1:7d} T= {frame.temperature_K:5.0f}. E= {exponent(total)} F= {exponent(free)} {zero}  "
            f"EK= {exponent(frame.kinetic_eV, 5)} SP= 0.00E+00 SK= 0.00E+00{mag}\n"
        )

    def _both(self, text):
        self._write("OSZICAR", text)
        print(text, end="", flush=True)

    def _write(self, name, text):
        self.files[name].write(text)


def poscar_head(job):
    poscar = job.poscar
    cell = "".join("".join(f"{x:22.16f}" for x in vector) + "\n" for vector in poscar.cell_A)
    types, counts = (f"{'  '.join(map(str, words))}\n" for words in (poscar.types, poscar.counts))
    return f"{poscar.comment[:40]:<40}\n   1.00000000000000     \n{cell}  {types}  {counts}"


def wrapped(positions_A, cell_A):
    return np.linalg.solve(cell_A.T, positions_A.T).T % 1.0


def _five(values):
    rows = np.array_split(values, range(5, len(values), 5))
    return "".join(" " + " ".join(exponent(x, 11) for x in row) + "\n" for row in rows)


def electronic_energies(energy_eV, incar, unconverged, restarted):
    """Energies of the electronic steps, falling tenfold towards the last, and whether EDIFF was reached before NELM."""
    most, ediff = incar.get("NELM", 60), incar.get("EDIFF", 1e-4)
    needed = max(incar.get("NELMIN", 2), math.ceil(-math.log10(ediff)) + (1 if restarted else 4))
    if unconverged or needed >= most:
        return [energy_eV + 0.02 * (-1) ** k * (k < most - 1) for k in range(most)], False
    return [energy_eV + 0.5 * 10.0 ** (needed - 2 - k) * ediff * (k < needed - 1) for k in range(needed)], True
