"""A real SLURM of three nodes on this machine: started without systemd, in a folder of its own.

A CPU node and two nodes with GPUs that only SLURM believes in. Nothing of the system's is touched:
configuration, key, sockets, state and logs lie in one folder, the ports are free ones, and every
process is ours to end.
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.waiting import wait_until

IMPATIENT = Path(__file__).with_name("impatient_snakemake.py")

COMMANDS = ("slurmctld", "slurmd", "sbatch", "squeue", "srun", "munged", "mungekey")
PACKAGES = "slurmctld slurmd slurm-client munge"
"""What Debian and Ubuntu call what has them."""

NODES = {
    "cpu1": "CPUs=4 Feature=cpu",
    "a1001": "CPUs=4 Gres=gpu:a100:2",
    "rtx1": "CPUs=4 Gres=gpu:rtx3090:1",
}
"""Each is a partition of its own: `cpu`, `a100` and `rtx3090`."""


FIELDS = {
    **{"name": "Name", "state": "State", "node": "NodeList", "comment": "Comment"},
    # What it asked for.
    **{"gpus": "tres-per-job", "memory": "MinMemory", "limit": "TimeLimit"},
}


def which(command: str) -> str | None:
    """Return where a command is, daemons included."""
    return shutil.which(command, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def missing_commands() -> list[str]:
    """Return what a SLURM needs and this machine does not have."""
    return [command for command in COMMANDS if which(command) is None]


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Cluster:
    """Daemons by name (`munged`, `slurmctld`, and the nodes), and the environment to reach them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            **os.environ,
            "PATH": f"{folder}/bin:{os.environ['PATH']}:/usr/sbin:/sbin",
            "SLURM_CONF": str(folder / "slurm.conf"),
        }

    def start(self) -> None:
        """Start everything, and wait until all nodes are idle."""
        self._configure()
        key, socket_file = self.folder / "munge.key", self.folder / "munge.socket"
        self.run("mungekey", "--create", f"--keyfile={key}")
        self._start(
            "munged",
            "munged",
            "--foreground",
            "--force",  # as root too: it serves this test only
            f"--socket={socket_file}",
            f"--key-file={key}",
            *(f"--{kind}-file={self.folder}/munged.{kind}" for kind in ("pid", "log", "seed")),
        )
        wait_until(socket_file.exists, 10, "munged listens")
        self._start("slurmctld", "slurmctld", "-D", "-i")
        wait_until(self._answers, 30, "slurmctld answers")
        for node in NODES:
            self.start_node(node)
        self.wait_for_nodes()

    def start_node(self, node: str) -> None:
        self._start(node, "slurmd", "-D", "-N", node)

    def kill_node(self, node: str) -> None:
        """Kill the daemon of a node, as a crash would; the processes of its jobs go on."""
        self.daemons[node].kill()
        self.daemons.pop(node).wait(timeout=10)

    def log_of(self, node: str) -> str:
        return (self.folder / f"slurmd.{node}.log").read_text()

    def wait_for_nodes(self) -> None:
        """Wait until every node is ready for jobs."""
        command = ("sinfo", "--noheader", "--Node", "--format=%T")
        wait_until(lambda: {*self.run(*command).split()} == {"idle"}, 60, "all nodes are idle")

    def stop(self) -> None:
        """End every job, then every daemon, the last started first."""
        if "slurmctld" in self.daemons:
            with contextlib.suppress(subprocess.SubprocessError, AssertionError):
                self.cancel_all()
        for daemon in reversed(self.daemons.values()):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait(timeout=10)
        self.daemons.clear()

    def cancel_all(self) -> None:
        """Cancel every job and wait until none is left."""
        self.run("scancel", f"--user={getpass.getuser()}")
        wait_until(lambda: not self.jobs(), 60, "no job is left")

    def run(self, *command: str, timeout: float = 30) -> str:
        """Run one of SLURM's commands and return what it prints."""
        return subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=True,
        ).stdout

    def jobs(self, states: str = "PENDING,RUNNING,COMPLETING") -> dict[str, dict[str, str]]:
        """Return the jobs in these states (`all`: also those that ended), by their id.

        Of each what `FIELDS` names; its `comment` is the rule with its wildcards.
        """
        # A width: without one, twenty letters of each are shown.
        shown = ",".join(f"{field}:200" for field in ("JobID", *FIELDS.values()))
        listed = self.run("squeue", "--noheader", f"--states={states}", f"--Format={shown}")
        rows = [
            [line[start : start + 200].strip() for start in range(0, len(line), 200)]
            for line in listed.splitlines()
        ]
        return {row[0]: dict(zip(FIELDS, row[1:], strict=False)) for row in rows}

    def _answers(self) -> bool:
        try:
            self.run("scontrol", "ping", timeout=5)
        except subprocess.SubprocessError:
            return False
        return True

    def _start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _configure(self) -> None:
        host = socket.gethostname().partition(".")[0]
        control, *ports = free_ports(1 + len(NODES))
        nodes = "\n".join(
            f"NodeName={node} NodeAddr=127.0.0.1 NodeHostname={host} Port={port} {has} "
            "RealMemory=64000"
            for (node, has), port in zip(NODES.items(), ports, strict=True)
        )
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=host, user=getpass.getuser(), folder=self.folder, port=control, nodes=nodes
            )
        )
        (self.folder / "gres.conf").write_text(GPUS)
        for name in ("bin", "state", *(f"spool.{node}" for node in NODES)):
            (self.folder / name).mkdir()
        # Within a job the plugin unsets all of SLURM's variables, this one too.
        configuration = f"SLURM_CONF={self.folder}/slurm.conf"
        self._write_command("srun", f'{configuration} exec {which("srun")} "$@"')
        # The accounting database, were there one: whoever asks it is written down.
        self._write_command("sacct", f'echo "$@" >> {self.folder}/sacct.calls; exit 1')
        self._write_command("snakemake", f'exec {sys.executable} {IMPATIENT} "$@"')

    def _write_command(self, name: str, line: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)


@contextlib.contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Yield a cluster that is ready for jobs, and end all of it afterwards."""
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


# SLURM wants a device file for each GPU, and nothing opens these.
GPUS = """\
NodeName=a1001 Name=gpu Type=a100 File=/dev/null
NodeName=a1001 Name=gpu Type=a100 File=/dev/zero
NodeName=rtx1 Name=gpu Type=rtx3090 File=/dev/full
"""

CONFIGURATION = """\
ClusterName=sdbench
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
# No control groups, no MPI, no mail: what a container lacks.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
# The nodes have the processors and the memory that stand below, whatever this machine has.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
# A job that takes more memory than it asked for is killed; looked at every second.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=UsePss,OverMemoryKill
# No accounting, as on many small clusters. Jobs are remembered until the tests have seen them.
AccountingStorageType=accounting_storage/none
MinJobAge=7200
# Things happen at once, and a node that does not answer is soon missed.
SchedulerParameters=batch_sched_delay=0,bf_interval=2
SlurmdTimeout=5
ReturnToService=2
KillWait=2
MessageTimeout=10
{nodes}
PartitionName=cpu Nodes=cpu1 Default=YES MaxTime=INFINITE State=UP
PartitionName=a100 Nodes=a1001 MaxTime=INFINITE State=UP
PartitionName=rtx3090 Nodes=rtx1 MaxTime=INFINITE State=UP
"""
