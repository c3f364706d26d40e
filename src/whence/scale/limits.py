"""How much memory this process may still take: of the machine, of its cgroup, by its ulimit."""

import errno
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
NEARLY_GONE = 256 << 20
NO_LIMIT = 1 << 60  # cgroup v1 writes the largest number there is


def memory_left(proc: Path = Path("/proc/self"), cgroups: Path = CGROUPS) -> int:
    """Return how many bytes may still be taken: the least of what machine, cgroup and ulimit allow.

    Args:
        proc: the process, as Linux tells of it.
        cgroups: where cgroups are mounted.

    Example:
        >>> memory_left() > 0
        True
    """
    bounds = [psutil.virtual_memory().available, *_of_cgroups(proc, cgroups), *_of_ulimit()]
    return max(0, min(bounds))


def peak_memory(proc: Path = Path("/proc/self")) -> int:
    """The most memory that this process has had at once, in bytes; 0 where nobody keeps it.

    Args:
        proc: what Linux tells of the process.

    Example:
        >>> peak_memory() >= 0
        True
    """
    lines = _text(proc / "status").splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def memory_ran_out(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out, as Python, C and PyTorch do.

    oneDNN doesn't say why it could not make a kernel: that counts where memory is nearly gone.

    Example:
        >>> memory_ran_out(MemoryError()), memory_ran_out(ValueError("no"))
        (True, False)
    """
    said = f"{error}".lower()
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError):
        words = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")
        unsaid = "could not create a primitive" in said and memory_left() < NEARLY_GONE
        return unsaid or any(each in said for each in words)
    return isinstance(error, MemoryError)


def _of_cgroups(proc: Path, cgroups: Path) -> Iterator[int]:
    """What is left in the process's cgroup and in those above it; those that set no limit are out.

    cgroup v2: https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
    cgroup v1: https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
    """
    for line in _text(proc / "cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers == "":
            names = ("memory.max", "memory.current", "inactive_file")
            root = cgroups
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            root = cgroups / "memory"
        else:
            continue
        here = root / path.strip("/")
        if not here.is_dir():  # in a container the path may be that of its host
            here = root
        while True:
            yield from _left(here, *names)
            if here == root:
                break
            here = here.parent


def _left(folder: Path, limit: str, usage: str, cache: str) -> Iterator[int]:
    bound, used = (_number(_text(folder / name)) for name in (limit, usage))
    if bound is None or used is None or bound >= NO_LIMIT:
        return
    stat = dict(line.split(maxsplit=1) for line in _text(folder / "memory.stat").splitlines())
    yield bound - used + (_number(stat.get(cache, "")) or 0)  # files read before make way


def _of_ulimit() -> Iterator[int]:
    """What `ulimit -v` and `ulimit -d` leave."""
    if sys.platform == "win32":
        return
    import resource

    memory = psutil.Process().memory_info()
    for kind, used in (
        (resource.RLIMIT_AS, memory.vms),
        (resource.RLIMIT_DATA, getattr(memory, "data", memory.vms)),
    ):
        soft = resource.getrlimit(kind)[0]
        if soft != resource.RLIM_INFINITY:
            yield soft - used


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
