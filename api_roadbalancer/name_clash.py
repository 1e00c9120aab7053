"""Detects user programs whose names shadow one of the installed packages."""

import importlib.util
from pathlib import Path

__all__ = ["refuse_shadowed_packages"]

PACKAGES = ("balancer", "jobs", "producer_api", "workers")
HERE = Path(__file__).resolve().parent.parent


def refuse_shadowed_packages() -> None:
    """Raise ImportError if Python finds one of our packages elsewhere than beside this one.

    Python looks first in the folder of the program that was started, so a `balancer.py` there hides our package of that name.
    """
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found is None or found.parent.parent != HERE:
            where = f"{found} has the name of" if found else "nothing is found for"
            raise ImportError(f"{where} the package {name!r} that belongs to roadbalancer; rename it, or run from another folder")
