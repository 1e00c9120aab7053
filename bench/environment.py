"""The competitors' own environments below bench/: clients that the project does not depend on."""

import asyncio
import sys
from pathlib import Path

from bench.results import BenchmarkFailed

__all__ = ["LITELLM", "competitors_python"]

HERE = Path(__file__).resolve().parent
LITELLM = "-litellm"
"""The environment that has LiteLLM, which can't share one with the newest openai SDK."""
INSTALL_SECONDS = 240.0


async def competitors_python(which: str = "") -> Path:
    """Return an environment's Python; make it first where it is missing or out of date. Raises BenchmarkFailed."""
    folder, requirements = HERE / f".venv{which}", HERE / f"requirements{which}.txt"
    python = folder / "bin" / "python"
    wanted = requirements.read_bytes()
    # A copy of the requirements, written when all is installed.
    made_of = folder / "made-of.txt"
    if not made_of.is_file() or made_of.read_bytes() != wanted:
        await _run(folder, sys.executable, "-m", "venv", "--clear", str(folder))
        await _run(folder, str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements))
        made_of.write_bytes(wanted)
    return python


async def _run(folder: Path, *command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), INSTALL_SECONDS)
    except TimeoutError as exc:
        raise BenchmarkFailed(f"{folder} could not be made within {INSTALL_SECONDS:.0f} s") from exc
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = output.decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
        raise BenchmarkFailed(f"{folder} could not be made: {last[0]}")
