"""A real Slurm of one node on loopback, from nothing and back to nothing.

    python tests/slurm/cluster.py up FOLDER      bring it up; everything it writes is in FOLDER
    python tests/slurm/cluster.py down FOLDER    take it down and remove FOLDER
    python tests/slurm/cluster.py node FOLDER kill|start     kill -9 its slurmd, start it again

Needs root and Debian's packages slurmctld, slurmd, slurm-client and munge (no recommends). It has its own munge
key and socket, free ports, two fake GPUs and no accounting. Outside FOLDER it makes links under /etc/slurm,
because the executor plugin strips SLURM_* (and so SLURM_CONF) from the environment of its inner srun; whatever
stands there already is never replaced.
"""

import contextlib
import os
import platform
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scancel", "squeue", "sinfo", "munged")
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
SYSTEM = Path("/etc/slurm")
CONFIGS = ("slurm.conf", "gres.conf", "cgroup.conf")
GPUS = 2
# More than the machine has is fine (config_overrides): the jobs of the tests mostly wait.
CPUS, MEMORY_MB = 4, 64000

SLURM_CONF = """\
ClusterName=dia
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
MailProg=/bin/true
ReturnToService=2
MinJobAge=300
KillWait=10
SlurmdTimeout=15
MpiDefault=none
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus}
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class ClusterError(Exception):
    """The cluster cannot be brought up, or is not what it should be; the message says what to do."""


def lacking() -> str:
    """Say what this machine lacks for a Slurm of its own; empty where it lacks nothing."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    if missing := [name for name in PROGRAMS if shutil.which(name, path=path) is None]:
        return f"{', '.join(missing)} not found: apt-get install --no-install-recommends {' '.join(PACKAGES)}"
    return "" if os.geteuid() == 0 else "the daemons of Slurm must be started as root"


def up(folder: Path) -> None:
    """Bring the cluster up.

    Raises:
        ClusterError: Something is missing, /etc/slurm is in use, or a daemon does not answer.
    """
    if reason := lacking():
        raise ClusterError(reason)
    folder = folder.resolve()
    clear_leftovers()
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    try:
        _link(folder)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        _configure(folder)
        _start_munge(folder)
        _daemon(folder, "slurmctld", "slurmctld", "-i")
        start_node(folder)
    except BaseException:
        down(folder)
        raise


def start_node(folder: Path) -> None:
    """Start slurmd and wait until the node takes jobs."""
    _daemon(folder, "slurmd", "slurmd", "-N", platform.node())
    # Once killed, a node is down until somebody says otherwise or it registers anew.
    for _ in range(120):
        state = _run("sinfo", "-h", "-o", "%T", check=False)
        if state in ("idle", "mixed", "allocated"):
            return
        if state.startswith(("down", "drained")):
            _run("scontrol", "update", f"nodename={platform.node()}", "state=resume", check=False)
        time.sleep(0.5)
    tail = (folder / "slurmd.log").read_text(errors="replace")[-2000:]
    raise ClusterError(
        f"the node does not come up, it is {state or 'unknown'}; {folder}/slurmd.log ends:\n{tail}"
    )


def kill_daemon(folder: Path) -> None:
    """kill -9 of slurmd alone: its jobs go on."""
    if pid := _pid(folder, "slurmd"):
        _kill(pid, signal.SIGKILL)


def kill_node(folder: Path) -> None:
    """kill -9 of slurmd and of the step daemons and jobs it watches over, as a crashed node; Slurm has noticed then."""
    for pid in [_pid(folder, "slurmd"), *_under(folder / "spool")]:
        if pid:
            _kill(pid, signal.SIGKILL)
    for _ in range(
        180
    ):  # SlurmdTimeout; a node that is back sooner is asked for its lost jobs only minutes later
        if _run("sinfo", "-h", "-o", "%T", check=False).startswith("down"):
            return
        time.sleep(0.5)


def down(folder: Path) -> None:
    """End the daemons of ``folder``, remove its links and itself."""
    folder = folder.resolve()
    if _pid(folder, "slurmctld"):
        _run("scancel", "--full", "--user=root", check=False)
    for name in ("slurmd", "slurmctld", "munged"):
        if pid := _pid(folder, name):
            _end(pid)
    for pid in _under(folder / "spool"):  # step daemons outlive slurmd
        _kill(pid, signal.SIGKILL)
    for name in CONFIGS:
        link = SYSTEM / name
        if link.is_symlink() and Path(os.readlink(link)).parent == folder:
            link.unlink()
    if (folder / "made-etc-slurm").exists() and SYSTEM.is_dir() and not any(SYSTEM.iterdir()):
        SYSTEM.rmdir()
    shutil.rmtree(folder, ignore_errors=True)


def folder_of(pid: int) -> Path:
    """The folder of the cluster of a test run; its name says whose it is, should the run be killed."""
    return Path(f"/tmp/dia-slurm-{pid}")


def clear_leftovers() -> None:
    """Take down every cluster that /etc/slurm still links to although its test run is gone."""
    for name in CONFIGS:
        link = SYSTEM / name
        folder = Path(os.readlink(link)).parent if link.is_symlink() else None
        if folder is None or not (owner := re.fullmatch(r"dia-slurm-(\d+)", folder.name)):
            continue
        if _is_pytest(int(owner[1])):
            raise ClusterError(f"the test run {owner[1]} has its Slurm in {folder}: wait until it ends")
        down(folder)


def _is_pytest(pid: int) -> bool:
    """Tell whether a process is a run of pytest."""
    try:
        return b"pytest" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _link(folder: Path) -> None:
    """Let /etc/slurm/*.conf resolve to ``folder``; refuses to touch what is there."""
    if not SYSTEM.exists():
        SYSTEM.mkdir()
        (folder / "made-etc-slurm").touch()
    for name in CONFIGS:
        link = SYSTEM / name
        if link.is_symlink() or link.exists():
            raise ClusterError(
                f"{link} is there already: this machine has a Slurm of its own, which stays as it is"
            )
    for name in CONFIGS:
        (SYSTEM / name).symlink_to(folder / name)


def _configure(folder: Path) -> None:
    lines = []
    for number in range(GPUS):
        device = folder / f"gpu{number}"
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # a null device
        lines.append(f"NodeName={platform.node()} Name=gpu File={device}\n")
    (folder / "gres.conf").write_text("AutoDetect=off\n" + "".join(lines))
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    controller, node = _free_ports(2)
    (folder / "slurm.conf").write_text(
        SLURM_CONF.format(
            host=platform.node(), folder=folder, controller=controller, node=node,
            cpus=CPUS, memory=MEMORY_MB, gpus=GPUS,
        )
    )  # fmt: skip


def _start_munge(folder: Path) -> None:
    key = folder / "munge.key"
    key.touch(mode=0o400)
    key.write_bytes(os.urandom(128))
    places = {name: folder / f"munge.{name}" for name in ("socket", "key", "log", "seed")}
    options = {"socket": "socket", "key-file": "key", "log-file": "log", "seed-file": "seed"}
    words = [f"--{option}={places[name]}" for option, name in options.items()]
    _run("munged", *words, f"--pid-file={folder}/munged.pid", "--num-threads=1")


def _daemon(folder: Path, name: str, *command: str) -> None:
    # HOME and the like may be absent in a container; the daemons do not need them.
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    for _ in range(60):
        if done.returncode == 0 and _pid(folder, name):
            return
        time.sleep(0.25)
    raise ClusterError(f"{name} does not start: {done.stderr.strip()[-1000:]}")


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _run(*command: str, check: bool = True) -> str:
    environment = os.environ | {"PATH": _path()}
    done = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=60)
    if check and done.returncode:
        raise ClusterError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def _pid(folder: Path, name: str) -> int | None:
    """The process of a daemon, if it lives and is that daemon."""
    try:
        pid = int((folder / f"{name}.pid").read_text())
        found = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return None
    return pid if found == name else None


def _under(spool: Path) -> list[int]:
    """Step daemons whose spool folder this is, and all that they started."""
    parents, steps = dict[int, int](), list[int]()
    for entry in Path("/proc").iterdir():
        try:
            pid = int(entry.name)
            parents[pid] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            command = (entry / "cmdline").read_bytes().split(b"\0")
            if command[0].startswith(b"slurmstepd") and _belongs(pid, spool):
                steps.append(pid)
        except (OSError, ValueError):
            continue
    found, new = set(steps), set(steps)
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - found
        found |= new
    return sorted(found)


def _belongs(pid: int, spool: Path) -> bool:
    """Tell whether a step daemon logs or listens in this folder."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(link).startswith(str(spool.parent)):
                return True
        except OSError:
            continue
    return False


def _end(pid: int) -> None:
    _kill(pid, signal.SIGTERM)
    for _ in range(40):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.25)
    _kill(pid, signal.SIGKILL)


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def main(words: list[str]) -> int:
    """Run one of the commands of the module's docstring."""
    try:
        match words:
            case ["up", folder]:
                up(Path(folder))
            case ["down", folder]:
                down(Path(folder))
            case ["node", folder, "kill"]:
                kill_node(Path(folder))
            case ["node", folder, "start"]:
                start_node(Path(folder))
            case ["lacking"]:
                print(lacking())
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except ClusterError as error:
        print(f"slurm: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
