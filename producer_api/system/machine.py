"""Figures of this machine and this process."""

import platform
from importlib.metadata import PackageNotFoundError, version

import psutil
from pydantic import BaseModel

__all__ = ["MachineObject", "ProcessObject", "machine_now", "process_now", "versions"]

_PACKAGES = ("roadbalancer", "celery", "redis", "fastapi", "uvicorn", "httpx", "httptools", "pydantic")
_this_process = psutil.Process()


class MachineObject(BaseModel):
    """The machine that the server runs on. `cpu_percent` is of all cores since the last look; memory is in bytes."""

    cpus: int
    cpu_percent: float
    load_average: float
    memory_total: int
    memory_available: int


class ProcessObject(BaseModel):
    """The server's own process. `cpu_percent` is of one core since the last look; memory is in bytes."""

    cpu_percent: float
    memory: int
    threads: int


def machine_now() -> MachineObject:
    """Look at the machine."""
    memory = psutil.virtual_memory()
    return MachineObject(
        cpus=psutil.cpu_count() or 1,
        cpu_percent=psutil.cpu_percent(interval=None),
        load_average=round(psutil.getloadavg()[0], 2),
        memory_total=memory.total,
        memory_available=memory.available,
    )


def process_now() -> ProcessObject:
    """Look at this process."""
    with _this_process.oneshot():
        return ProcessObject(
            cpu_percent=_this_process.cpu_percent(interval=None),
            memory=_this_process.memory_info().rss,
            threads=_this_process.num_threads(),
        )


def versions() -> dict[str, str]:
    """Return the versions of Python and of what matters here."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
