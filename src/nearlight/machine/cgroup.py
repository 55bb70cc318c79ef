"""Where the limits of this process's control groups are written, in versions 1 and 2.

A limit of any group on the way up binds. In a container a group may be named as the host sees it, and only the mount
itself exist; so that is looked at too.

Source: Linux Documentation/admin-guide/cgroup-v1, cgroup-v2.rst.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def groups(root: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """Yield the version and the directory of each group that limits this process, from its own to the mount.

    `root` is where /proc and /sys are looked for; `controller` is "cpu" or "memory".
    """
    for line in text_of(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:
            for directory in _upwards(root / "sys/fs/cgroup", group):
                yield 2, directory
        elif controller in controllers.split(","):
            for mount in dict.fromkeys((controllers, controller)):
                for directory in _upwards(root / "sys/fs/cgroup" / mount, group):
                    yield 1, directory


def text_of(path: Path) -> str:
    """Return what a file says, nothing for one that cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _upwards(mount: Path, group: str) -> Iterator[Path]:
    directory = mount / group.strip("/")
    while directory != mount and mount in directory.parents:
        yield directory
        directory = directory.parent
    yield mount
