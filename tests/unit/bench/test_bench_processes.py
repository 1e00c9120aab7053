"""Child processes: what they are given, watched for and how they end."""

import sys
from pathlib import Path

import psutil
import pytest

from bench.processes import child_environment, peak_memory, start_process, until
from bench.results import BenchmarkFailed

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
PARENT = [
    sys.executable,
    "-c",
    "import subprocess, sys, time; c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print(c.pid, flush=True); time.sleep(60)",
]


def test_the_users_own_settings_are_kept_from_children(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "ROADBALANCER_STORE",
        "LLM_ENDPOINTS",
        "OPENAI_BASE_URL",
        "LITELLM_MASTER_KEY",
        "DATABASE_URL",
        "https_proxy",
        "NO_PROXY",
    }
    for name in names:
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("ORDINARY", "x")
    environment = child_environment()
    assert environment["ORDINARY"] == "x"
    assert not names & set(environment)


async def test_ending_a_process_ends_what_it_has_started(tmp_path: Path) -> None:
    process = start_process("parent", PARENT, tmp_path, 0.0, {})
    try:
        await until(lambda: process.log_text().strip(), 20, "the child")
        child = psutil.Process(int(process.log_text()))
    finally:
        process.end()
    assert not process.is_running
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10, "the child's end")


def test_ending_twice_is_harmless(tmp_path: Path) -> None:
    process = start_process("sleeper", SLEEPER, tmp_path, 5.0, {})
    process.end()
    process.end()
    assert process.handle.returncode is not None


async def test_a_process_that_fails_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    process = start_process("faulty", [sys.executable, "-c", "raise SystemExit('no luck')"], tmp_path, 0.0, {})
    with pytest.raises(BenchmarkFailed, match="faulty ended with exit code 1: no luck"):
        await process.finished(20)


async def test_waiting_has_an_end() -> None:
    with pytest.raises(BenchmarkFailed, match=r"waited 0\.01 s in vain for godot"):
        await until(lambda: False, 0.01, "godot")


async def test_the_peak_of_a_process_stays_when_it_has_let_go_of_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "x = bytearray(80_000_000); del x; print('done', flush=True); import time; time.sleep(60)"]
    process = start_process("hungry", command, tmp_path, 0.0, {})
    try:
        await until(lambda: "done" in process.log_text(), 20, "the memory to be used")
        assert peak_memory(process.pid) > 80_000_000
    finally:
        process.end()
    assert peak_memory(process.pid) == 0
