"""Checks that are functions of the user's own: `python: module:function` calls `function(text)` on each answer.

The function returns None or True for an answer that passes, else False or a text that says what is wrong with it; an exception is
what is wrong too. It runs in the worker's process, so it has to be quick. Code of the user's is loaded only where that is
allowed: in workers with the variable `ROADBALANCER_PYTHON_CHECKS` set to `allow`, which `run` and `roadbalancer.run` set for
theirs.
"""

import importlib
import os
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from jobs.errors import InvalidRequest

__all__ = ["ALLOWED", "check_name", "load_function", "problem_with", "uses_python"]

VARIABLE = "ROADBALANCER_PYTHON_CHECKS"
ALLOWED = {VARIABLE: "allow"}
"""The environment of a worker that may load functions."""
_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def uses_python(checks: str) -> bool:
    """Whether checks, as a job keeps them, call functions."""
    return '{"python":' in checks


def check_name(name: Any) -> str:
    """Return the name of a function, `module:function`. Raises InvalidRequest."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidRequest(f"python must be module:function, such as my_checks:is_polite (got {name!r:.100})", "checks")
    return name


@lru_cache(maxsize=64)
def load_function(name: str) -> Callable[[str], Any]:
    """Return the function; its module is looked for in the current folder too. Raises InvalidRequest if it is not there."""
    module, _, function = name.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except Exception as exc:
        raise InvalidRequest(f"the check python: {name} can't be loaded ({type(exc).__name__}: {exc})", "checks") from exc
    if not callable(found):
        raise InvalidRequest(f"the check python: {name} is no function", "checks")
    return found  # type: ignore[no-any-return]


def problem_with(name: str, text: str) -> str | None:
    """Return what a function finds wrong with an answer, None if nothing."""
    if os.environ.get(VARIABLE) != ALLOWED[VARIABLE]:
        return f"{name} can't be called: this worker loads no functions ({VARIABLE} is not set to {ALLOWED[VARIABLE]!r})"
    try:
        found = load_function(name)(text)
    except InvalidRequest as exc:
        return str(exc)
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"
    if found is None or found is True:
        return None
    return found if isinstance(found, str) else f"{name} has rejected it"
