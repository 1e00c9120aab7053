"""Plots of what was measured over time, as SVG, drawn by matplotlib in an environment of its own."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from bench.environment import competitors_python
from bench.results import BenchmarkFailed

__all__ = ["PLOTS", "Line", "Plot", "save_plot"]

HERE = Path(__file__).resolve().parent
PLOTS = "-plots"


@dataclass(frozen=True, slots=True)
class Line:
    """Values over time (s). A `stepped` one stays as it is until the next."""

    label: str
    points: Sequence[tuple[float, float]]
    stepped: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines on one axis."""

    title: str
    lines: Sequence[Line]
    unit: str = ""


async def save_plot(plot: Plot, name: str) -> Path:
    """Write `bench/results/NAME.svg`. Raises BenchmarkFailed."""
    python = await competitors_python(PLOTS)
    path = HERE / "results" / f"{name}.svg"
    path.parent.mkdir(exist_ok=True)
    command = (str(python), str(HERE / "draw.py"), str(path))
    drawing = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    _, errors = await drawing.communicate(orjson.dumps(asdict(plot)))
    if drawing.returncode:
        raise BenchmarkFailed(f"{path.name} could not be drawn: {errors.decode(errors='replace').strip()[-300:]}")
    return path
