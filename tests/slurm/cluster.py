"""One node, a cpu and a gpu partition with two invented GPUs, no accounts, free ports, all files in one folder."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "setpriv")
# Debian keeps daemons where a user's PATH may not look.
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
START_S = 30
STOP_S = 10

SLURM_CONF = """\
ClusterName=lab
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
EnforcePartLimits=ALL
KillWait=5
GresTypes=gpu
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} Boards=1 SocketsPerBoard=1 CoresPerSocket={cpus} ThreadsPerCore=1 {more}
PartitionName=cpu Nodes={node} Default=YES MaxTime=7-00:00:00 State=UP
PartitionName=gpu Nodes={node} Default=NO MaxTime=2-00:00:00 State=UP
"""


def missing_programs() -> list[str]:
    """Programs that a Slurm needs and this machine has not."""
    return [name for name in PROGRAMS if not shutil.which(name, path=SEARCH)]


class PrivateSlurm:
    """A running Slurm; `environment` is what its commands need."""

    def __init__(self, cpus: int = 4, memory_MB: int = 32_000) -> None:
        # munged wants its folder out of reach of others, a socket's name short: both speak against pytest's folders.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.daemons: list[subprocess.Popen] = []
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}
        self.environment["PATH"] = os.pathsep.join([str(self.folder / "bin"), SEARCH])
        try:
            self._configure(cpus, memory_MB)
            self._start()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> "PrivateSlurm":
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _configure(self, cpus: int, memory_MB: int) -> None:
        for name in ("state", "spool", "log", "munge", "bin"):
            (self.folder / name).mkdir()
        key = self.folder / "munge/key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        node = socket.gethostname().split(".")[0]
        (self.folder / "slurm.conf").write_text(
            SLURM_CONF.format(
                node=node,
                ports=_free_ports(2),
                user=pwd.getpwuid(os.getuid()).pw_name,
                folder=self.folder,
                cpus=cpus,
                more=f"RealMemory={memory_MB} Gres=gpu:2 State=UNKNOWN",
            )
        )
        # The file of a GPU must be a device.
        (self.folder / "gres.conf").write_text(
            f"AutoDetect=off\nNodeName={node} Name=gpu File=/dev/null\nNodeName={node} Name=gpu File=/dev/zero\n"
        )
        (self.folder / "cgroup.conf").touch()
        # The Slurm plugin of Snakemake takes SLURM_CONF away from what runs in a job.
        for name in ("srun", "squeue", "scontrol"):
            wrapper = self.folder / "bin" / name
            real = shutil.which(name, path=SEARCH)
            wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {real} "$@"\n')
            wrapper.chmod(0o755)

    def _start(self) -> None:
        munge = self.folder / "munge"
        files = [f"--{name}-file={munge / name}" for name in ("key", "pid", "log", "seed")]
        self._daemon("munged", "--foreground", "--force", "--num-threads=2", f"--socket={munge}/socket", *files)
        self._wait(lambda: (munge / "socket").exists())
        self.start_controller("-c")
        self._daemon("slurmd", "-D")
        self._wait(lambda: self.run("sinfo", "-h", "-o", "%T", "-p", "cpu").strip() == "idle")

    def start_controller(self, *options: str) -> None:
        """Start slurmctld, as it was unless told `-c`."""
        self._daemon("slurmctld", "-D", *options)
        self._wait(lambda: "is UP" in self.run("scontrol", "ping"))

    def stop_controller(self) -> None:
        """End slurmctld; jobs that run go on."""
        controller = next(daemon for daemon in self.daemons if Path(daemon.args[3]).name == "slurmctld")
        controller.terminate()
        controller.wait(STOP_S)
        self.daemons.remove(controller)

    def _daemon(self, name: str, *arguments: str) -> None:
        """Start a daemon that ends when this process does, however it ends."""
        with (self.folder / "log" / name).open("w") as log:
            program = shutil.which(name, path=SEARCH)
            command = ["setpriv", "--pdeathsig", "TERM", str(program), *arguments]
            self.daemons.append(subprocess.Popen(command, env=self.environment, stdout=log, stderr=log))

    def _wait(self, is_up) -> None:
        limit = time.monotonic() + START_S
        while not is_up():
            ended = [daemon.args[3] for daemon in self.daemons if daemon.poll() is not None]
            if ended or time.monotonic() > limit:
                logs = "\n".join(path.read_text()[-1500:] for path in (self.folder / "log").iterdir())
                raise RuntimeError(f"Slurm did not come up ({ended or 'no answer'}):\n{logs}")
            time.sleep(0.1)

    def run(self, *command: str) -> str:
        """Output of a Slurm command; empty when it fails."""
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)
        return result.stdout if result.returncode == 0 else ""

    def jobs(self) -> list[dict[str, str]]:
        """Every job since the start as `scontrol` shows it, the oldest first."""
        lines = self.run("scontrol", "show", "job", "--oneliner").splitlines()
        found = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
        return sorted((job for job in found if "JobId" in job), key=lambda job: int(job["JobId"]))

    def stop(self) -> None:
        """End jobs and daemons and remove the folder."""
        if len(self.daemons) == 3:
            self.run("scancel", "--user", pwd.getpwuid(os.getuid()).pw_name)
            limit = time.monotonic() + STOP_S
            while self.run("squeue", "-h") and time.monotonic() < limit:
                time.sleep(0.1)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(STOP_S)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self.daemons = []
        shutil.rmtree(self.folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    listeners = [socket.socket() for _ in range(count)]
    for listener in listeners:
        listener.bind(("127.0.0.1", 0))
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports
