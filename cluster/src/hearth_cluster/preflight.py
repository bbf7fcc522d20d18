"""What a machine must have before a cluster can come up: everything that is missing, at once, with what mends it."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from hearth_cluster import cgroups, kind
from hearth_cluster.binaries import go_problem
from hearth_cluster.errors import ClusterError
from hearth_cluster.paths import cache_dir
from hearth_cluster.ports import listens
from hearth_cluster.processes import run_checked, search_path

# A program that must be found, by the Debian package that brings it.
NODE_PACKAGES: dict[str, tuple[str, ...]] = {
    "runc": ("runc",),
    "iptables": ("iptables",),
    "conntrack": ("conntrack",),
    "iproute2": ("ip",),
    "util-linux": ("nsenter", "losetup", "blkid"),
    "mount": ("mount", "umount"),
    "procps": ("sysctl",),
    "kmod": ("modprobe",),
    "xfsprogs": ("mkfs.xfs", "xfs_growfs"),
    "containernetworking-plugins": (),
}
IMAGE_PACKAGES: dict[str, tuple[str, ...]] = {
    "buildah": ("buildah",),
    "mmdebstrap": ("mmdebstrap",),
    # For the tests of training, which take torch apart as the local images do.
    "binutils": ("readelf", "as", "ld"),
}

_CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))
_CNI_PLUGINS = ("bridge", "host-local", "portmap", "loopback")
_FILESYSTEMS = {"overlay": "overlay", "xfs": "xfs"}

_DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins/kubelet.sock")
"""Every kubelet's, whatever its root folder is."""

NODE_DISK_BYTES = 35 * 10**9
"""As measured with the demo's images: Go's caches 15 GB, programs 1 GB, image builds 11 GB, the registry 2 GB, pulled
images 6 GB."""
WARM_DISK_BYTES = 8 * 10**9
"""Where an earlier cluster has filled the caches: etcd, logs, volumes, and what changes in images."""
NODE_WATCHERS = 32
"""inotify instances: a node was seen to have 22 of them, a control plane alone 13."""
CONTROL_PLANE_WATCHERS = 20
NODE_MEMORY_BYTES = 6 * 2**30
CONTROL_PLANE_DISK_BYTES = 8 * 10**9


@dataclass(frozen=True)
class Problem:
    """One thing that is missing."""

    what: str
    mend: str
    """A command, where one does it; else what to do."""
    package: str | None = None
    """The Debian package that would bring it."""
    command: tuple[str, ...] = ()
    """What `fix` runs, as root, where no package is missing but a module or a setting of the kernel."""


def problems(profile: str, provider: str = "native") -> list[Problem]:
    """Everything this machine lacks for the profile. A node made by kind has its programs in its own image."""
    if profile == "control-plane":
        return [*_go(), *_disk(CONTROL_PLANE_DISK_BYTES), *_inotify(CONTROL_PLANE_WATCHERS)]
    if provider == kind.PROVIDER:
        return [*_go(), *_disk(CONTROL_PLANE_DISK_BYTES), *_memory()]
    packages = {**NODE_PACKAGES, **IMAGE_PACKAGES}
    machine = [*_disk(NODE_DISK_BYTES), *_memory(), *_kernel(), *_inotify(NODE_WATCHERS), *other_kubelet()]
    return [*_go(), *_rights(), *_packages(packages), *machine]


def require(profile: str) -> None:
    """Raises ClusterError that lists every problem, if there is any."""
    found = problems(profile)
    if found:
        raise ClusterError(explain(found))


def explain(found: Iterable[Problem]) -> str:
    """All problems as text; the packages among them in one command."""
    listed = list(found)
    lines = ["this machine is not ready for a cluster:"]
    lines += [f"  - {problem.what}: {problem.mend}" for problem in listed if problem.package is None]
    if packages := _packages_of(listed):
        programs = "; ".join(problem.what for problem in listed if problem.package is not None)
        lines.append(f"  - {programs}: apt-get install {' '.join(packages)}")
        lines.append("on Debian and Ubuntu, as root, `hearth-cluster preflight --fix` installs them")
    return "\n".join(lines)


def fix(found: Iterable[Problem]) -> None:
    """Installs the missing packages by apt-get, loads kernel modules, and does whatever else one command mends.

    Raises:
        ClusterError: not root, no apt-get, or it failed.
    """
    listed = list(found)
    commands = []
    if packages := _packages_of(listed):
        _require_apt(packages)
        commands += [["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", *packages]]
    commands += [list(problem.command) for problem in listed if problem.command]
    for command in commands:
        run_checked(command, environment={"DEBIAN_FRONTEND": "noninteractive"})


def _require_apt(packages: list[str]) -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ClusterError(f"packages are installed on Debian and Ubuntu by root only; needed: {' '.join(packages)}")


def cni_programs() -> Path:
    """The folder with the CNI plugins; the first place to look if there is none."""
    complete = [folder for folder in _CNI_FOLDERS if all((folder / name).exists() for name in _CNI_PLUGINS)]
    return complete[0] if complete else _CNI_FOLDERS[0]


def _packages_of(found: Iterable[Problem]) -> list[str]:
    return sorted({problem.package for problem in found if problem.package is not None})


def missing_programs(packages: dict[str, tuple[str, ...]], which: Callable[[str], object]) -> list[Problem]:
    """Programs that `which` doesn't find, with the package of each."""
    return [
        Problem(f"{program} is missing", f"apt-get install {package}", package)
        for package, programs in packages.items()
        for program in programs
        if not which(program)
    ]


def _packages(packages: dict[str, tuple[str, ...]]) -> list[Problem]:
    found = missing_programs(packages, lambda program: shutil.which(program, path=search_path()))
    if not all((cni_programs() / name).exists() for name in _CNI_PLUGINS):
        package = "containernetworking-plugins"
        found.append(Problem("the CNI plugins are missing", f"apt-get install {package}", package))
    return found


def _go() -> list[Problem]:
    problem = go_problem()
    return [] if problem is None else [Problem(problem, "install Go from https://go.dev/dl")]


def _rights() -> list[Problem]:
    if os.geteuid() != 0:
        return [Problem("a node needs root", "run the command again with sudo, or use --profile control-plane")]
    return []


def _disk(needed: int) -> list[Problem]:
    folder = cache_dir()
    while not folder.exists():
        folder = folder.parent
    if any((cache_dir() / "registry").glob("*")):
        needed = min(needed, WARM_DISK_BYTES)
    free = shutil.disk_usage(folder).free
    if free >= needed:
        return []
    what = f"{folder} has {free / 1e9:.1f} GB free, {needed / 1e9:.0f} GB are needed"
    return [Problem(what, "free some space, or set XDG_CACHE_HOME to a larger disk")]


def _memory() -> list[Problem]:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if total >= NODE_MEMORY_BYTES:
        return []
    what = f"the machine has {total / 2**30:.1f} GiB of memory, {NODE_MEMORY_BYTES / 2**30:.0f} GiB are needed"
    return [Problem(what, "use a larger machine, or --profile control-plane")]


def _inotify(needed: int) -> list[Problem]:
    limit = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    return watcher_problem(limit, used=inotify_instances(os.geteuid()), needed=needed)


def watcher_problem(limit: int, *, used: int, needed: int) -> list[Problem]:
    """Too few inotify instances are left to this user: the kubelet ends with "too many open files" then."""
    if limit - used >= needed:
        return []
    what = f"{used} of {limit} inotify instances are in use, and {needed} more are needed"
    command = ("sysctl", "-w", f"fs.inotify.max_user_instances={max(1024, 2 * limit)}")
    return [Problem(what, " ".join(command), command=command)]


def inotify_instances(user: int, proc: Path = Path("/proc")) -> int:
    """Instances of one user's processes. The limit is each user's own, and root may look into everybody's processes."""
    count = 0
    for process in proc.glob("[0-9]*"):
        try:
            if process.stat().st_uid == user:
                count += sum(_is_inotify(descriptor) for descriptor in (process / "fd").iterdir())
        except OSError:
            continue  # ended meanwhile, or not to be looked into
    return count


def _is_inotify(descriptor: Path) -> bool:
    try:
        return str(descriptor.readlink()) == "anon_inode:inotify"
    except OSError:
        return False  # closed meanwhile


def _kernel() -> list[Problem]:
    known = {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()}
    found = [
        _module(f"the kernel has no {name} file system", module)
        for name, module in _FILESYSTEMS.items()
        if name not in known
    ]
    if not Path("/dev/loop-control").exists():
        found.append(_module("the kernel has no loop devices", "loop"))
    if not Path("/proc/sys/net/bridge").exists():
        found.append(_module("the kernel does not show bridged packets to iptables", "br_netfilter"))
    if missing := cgroups.missing_controllers():
        mend = "boot with these cgroup controllers enabled (kernel parameter cgroup_enable=NAME)"
        found.append(Problem(f"cgroup controllers are missing: {', '.join(missing)}", mend))
    return [*found, *cgroup_root_problem()]


def cgroup_root_problem(root: Path = cgroups.ROOT) -> list[Problem]:
    """Processes in a container's root cgroup, where all of a container's start out."""
    if not cgroups.crowded(root):
        return []
    group = root / "init"
    move = f"mkdir -p {group} && xargs -rn1 <{root}/cgroup.procs >{group}/cgroup.procs"
    command = ("sh", "-c", move)
    return [
        Problem("processes keep the container's root cgroup from having groups", shlex.join(command), None, command)
    ]


def other_kubelet(socket: Path = _DEVICE_PLUGINS, namespaces: Path = Path("/run/netns")) -> list[Problem]:
    """A kubelet that no cluster of Hearth has started: a second one would take its place with the device plugins."""
    if any(namespaces.glob("hearth-*")) or not listens(socket):
        return []
    mend = "use that cluster, another machine, or --profile control-plane"
    return [Problem(f"this machine is a Kubernetes node already (a kubelet listens on {socket})", mend)]


def _module(what: str, module: str) -> Problem:
    """A part of the kernel that most distributions load only when it is asked for."""
    return Problem(what, f"modprobe {module}", command=("modprobe", module))
