"""Loop devices: files that the kernel shows as disks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hearth_cluster.errors import ClusterError
from hearth_cluster.processes import run_checked

SYSFS = Path("/sys/block")
_DELETED = " (deleted)"


def attached(sysfs: Path = SYSFS) -> dict[str, Path]:
    """The files behind the attached loop devices, by device path such as /dev/loop3."""
    found = {}
    for attribute in sorted(sysfs.glob("loop*/loop/backing_file")):
        try:
            text = attribute.read_text().strip()
        except (FileNotFoundError, OSError):
            continue  # detached since it was listed
        found[f"/dev/{attribute.parents[1].name}"] = Path(text.removesuffix(_DELETED))
    return found


def below(folder: Path, devices: Mapping[str, Path]) -> list[str]:
    """Those devices whose file lies in the folder, the youngest first: a device may itself lie behind a later one."""
    inside = [device for device, file in devices.items() if file.is_relative_to(folder)]
    return sorted(inside, key=lambda device: int(device.removeprefix("/dev/loop")), reverse=True)


def detach_below(folder: Path) -> list[str]:
    """Detaches every loop device whose file lies in the folder and returns them.

    The kubelet puts one of its own over each raw device it hands to a pod, and a killed driver leaves those of Block
    volumes. One that a mount still holds is detached by the kernel when the mount goes.
    """
    files = attached()
    devices = below(folder.resolve(), files)
    for device in devices:
        try:
            run_checked(["losetup", "--detach", device])
        except ClusterError:
            if attached().get(device) == files[device]:
                raise  # and not detached meanwhile, by a mount that went
    return devices
