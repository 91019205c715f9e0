"""A stand-in for VASP: reads its inputs, writes its files, takes its energies from the toy, fails as it is told to."""

import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

from .behaviours import next_behaviour
from .inputs import VaspStop, read_job

MESSAGES = {
    "brmix": " BRMIX: very serious problems\n  the old and the new charge density differ\n",
    "zpotrf": " LAPACK: Routine ZPOTRF failed!           1           8           1\n",
    "tet": " Tetrahedron method fails (number of k-points < 4)\n",
    "oom": "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.0. Some of your processes may have been "
    "killed by the cgroup out-of-memory handler.\n",
    "crash": "forrtl: severe (174): SIGSEGV, segmentation fault occurred\n",
    "no_start": "bash: vasp_std: command not found\n",
    "mpi_abort": "MPI_ABORT was invoked on rank 0 in communicator MPI_COMM_WORLD with errorcode 1.\n",
}
EXIT_CODES = {"oom": 137, "crash": 139, "no_start": 127, "mpi_abort": 1, "brmix": 0, "zpotrf": 1, "tet": 1}
NEVER_START = ("no_start", "mpi_abort", "stale")
HALF_WAY = (
    "unfinished",
    "hang",
    "hang_deaf",
    "endless",
    "children",
    "killed",
    "crash",
    "oom",
    "brmix",
    "zpotrf",
    "tet",
)
FAR_S = 1e6
DAY_S = 86400.0


def main():
    word, argument = next_behaviour()
    if word in NEVER_START:
        sys.stderr.write(MESSAGES.get(word, ""))
        sys.exit(EXIT_CODES.get(word, 0))
    try:
        job = read_job(".")
    except VaspStop as stop:
        print(stop, flush=True)
        sys.exit(1)
    alter_job(job, word)
    import_little()
    run(job, word, float(argument or 1.0))


def import_little():
    """Keep out what takes longer than the run: torch, which vesin looks for, and the config, which the toy names."""
    sys.modules["torch"] = None
    config = types.ModuleType("redoxmd.config")
    config.sections = types.ModuleType("redoxmd.config.sections")
    sys.modules |= {"redoxmd.config": config, "redoxmd.config.sections": config.sections}


def alter_job(job, word):
    if word == "wrong_charge":
        job.incar["NELECT"] = job.electrons + 1
    if word == "other_encut":
        job.incar["ENCUT"] = job.encut_eV - 50.0


def run(job, word, argument):
    from .dynamics import Dynamics
    from .writer import Writer, electronic_energies

    dynamics, writer = Dynamics(job), Writer(job)
    restarted = job.incar.get("ISTART", 0) > 0 and Path("WAVECAR").exists()
    for step in range(job.steps):
        frame = altered(dynamics.frame(), word, job)
        failing = word == "nelm" or (word == "nelm_once" and step == min(1, job.steps - 1))
        energies, converged = electronic_energies(frame.energy_eV, job.incar, failing, restarted or step > 0)
        writer.begin_step()
        for k, energy in enumerate(energies):
            change = energy - (energies[k - 1] if k else 0.0)
            full = k in (0, len(energies) - 1)
            writer.electronic(step, k, energy, change, full, float(frame.moments_muB.sum()))
            if word in HALF_WAY and step == job.steps // 2 and k == 2:
                half_way(writer, word)
        if word == "slow":
            writer.flush()
            time.sleep(argument / job.steps)
        writer.ionic(step, frame, converged, step == job.steps - 1)
        atoms = dynamics.atoms()
        if job.molecular_dynamics:
            dynamics.advance(step)
            writer.report(step, frame, dynamics.seed)
        writer.contcar(dynamics.positions_A, dynamics.velocities_A_fs if job.molecular_dynamics else None)
    if job.incar.get("LCHARG", True):
        writer.charge(atoms)
    writer.finish(dynamics.positions_A)
    writer.flush()
    after(word)


def altered(frame, word, job):
    """The frame as a failing VASP would write it."""
    symbols = job.poscar.symbols
    if word == "stars":
        frame.energy_eV = 1e12
    elif word == "nan_forces":
        frame.forces_eV_A[0, 0] = float("nan")
    elif word == "huge_force":
        frame.forces_eV_A[0, 0] = 999.0
    elif word == "wrong_positions":
        frame.positions_A[0] += 0.5
    elif word == "wrong_order":
        other = next(i for i, symbol in enumerate(symbols) if symbol != symbols[0])
        frame.positions_A[[0, other]] = frame.positions_A[[other, 0]]
    elif word == "wrong_moment":
        frame.moments_muB = 0 * frame.moments_muB
    return frame


def half_way(writer, word):
    """What happens in the middle of a run that fails."""
    writer.flush()
    if word in MESSAGES:
        (sys.stderr if word in ("oom", "crash") else sys.stdout).write(MESSAGES[word])
        sys.stdout.flush()
        os._exit(EXIT_CODES[word])
    if word == "unfinished":
        os._exit(0)
    if word == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "hang_deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if word == "children":
        child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1e6)"
        subprocess.Popen([sys.executable, "-c", child], process_group=0)
    while True:
        time.sleep(0.1 if word == "endless" else FAR_S)
        print("DAV:   4    -0.100000000000E+02   -0.10000E-01   -0.10000E-01   960   0.100E+01", flush=True)


def after(word):
    if word == "empty_contcar":
        Path("CONTCAR").write_text("")
    if word == "lingering":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1e6)"])
    if word == "backdated":
        for name in ("vasprun.xml", "OUTCAR", "OSZICAR", "CONTCAR"):
            os.utime(name, (time.time() - DAY_S, time.time() - DAY_S))


if __name__ == "__main__":
    main()
