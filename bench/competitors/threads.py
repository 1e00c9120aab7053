"""A chat function called from many threads, and one after the other. Standard library only, for both environments."""

import json
import threading
import time
from collections.abc import Callable

__all__ = ["measure"]


def measure(chat: Callable[[], object], sequential: int, threads: int, each: int) -> None:
    """Call `chat` and print, as JSON, the CPU seconds of a call by itself and the calls per second from many threads."""
    for _ in range(min(50, sequential)):
        chat()
    cpu = time.process_time()
    for _ in range(sequential):
        chat()
    cpu = (time.process_time() - cpu) / sequential
    print(json.dumps({"cpu": cpu, "rate": _rate(chat, threads, each)}))


def _rate(chat: Callable[[], object], threads: int, each: int) -> float:
    def work() -> None:
        for _ in range(each):
            chat()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return threads * each / (time.perf_counter() - started)
