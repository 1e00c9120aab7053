"""Reads a YAML file strictly, and expands `${NAME}` from the environment."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from balancer.errors import ConfigurationError

__all__ = ["fill_variables", "read_yaml"]

_UNFILLED = {"discover"}
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def read_yaml(path: Path, env: Mapping[str, str]) -> dict[str, Any]:
    """Return the mapping that a file holds; an empty file's is empty. Raises ConfigurationError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(str(path), "", f"can't be read: {exc}") from exc
    try:
        content = yaml.load(text, _StrictLoader)
    except yaml.YAMLError as exc:
        raise ConfigurationError(str(path), "", f"is not valid YAML: {_yaml_problem(exc)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(str(path), "", "must be a mapping of keys, such as `endpoints:`")
    # What is found later is kept in Redis, where no key may stand: each process fills its variables in itself.
    unfilled = {key: content.pop(key) for key in _UNFILLED & content.keys()}
    settings: dict[str, Any] = fill_variables(content, env, str(path), "")
    return {**settings, **unfilled}


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping; YAML forbids it, and PyYAML would take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _yaml_problem(error: yaml.YAMLError) -> str:
    """Say what is wrong and where, without the line itself: there may be a key in it."""
    problem = getattr(error, "problem", None) or type(error).__name__
    mark = getattr(error, "problem_mark", None)
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark else str(problem)


def fill_variables(value: Any, env: Mapping[str, str], source: str, path: str) -> Any:
    """Replace `${NAME}` in every string by the variable's value; a variable that isn't set is an error."""
    if isinstance(value, dict):
        return {k: fill_variables(v, env, source, f"{path}.{k}" if path else str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [fill_variables(v, env, source, f"{path}[{i}]") for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        if match[1] not in env:
            raise ConfigurationError(source, path, f"the environment variable {match[1]} is not set")
        return env[match[1]]

    return _VARIABLE.sub(fill, value)
