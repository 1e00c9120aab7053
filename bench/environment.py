"""The competitors' own environment, bench/.venv: clients that the project does not depend on."""

import asyncio
import sys
from pathlib import Path

from bench.results import BenchmarkFailed

__all__ = ["competitors_python"]

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
FOLDER = HERE / ".venv"
MADE_OF = FOLDER / "made-of.txt"
"""A copy of the requirements, written when all is installed."""
INSTALL_SECONDS = 240.0


async def competitors_python() -> Path:
    """Return the environment's Python; make it first where it is missing or out of date. Raises BenchmarkFailed."""
    python = FOLDER / "bin" / "python"
    wanted = REQUIREMENTS.read_bytes()
    if not MADE_OF.is_file() or MADE_OF.read_bytes() != wanted:
        await _run(sys.executable, "-m", "venv", "--clear", str(FOLDER))
        await _run(str(python), "-m", "pip", "install", "--quiet", "--requirement", str(REQUIREMENTS))
        MADE_OF.write_bytes(wanted)
    return python


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), INSTALL_SECONDS)
    except TimeoutError as exc:
        raise BenchmarkFailed(f"{FOLDER} could not be made within {INSTALL_SECONDS:.0f} s") from exc
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = output.decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
        raise BenchmarkFailed(f"{FOLDER} could not be made: {last[0]}")
