"""Several processes of the API share a port, come up again when they are killed, and stop together."""

import asyncio
import signal

import httpx
import psutil

from tests.acceptance.cluster import HTTP, Cluster
from tests.acceptance.shell import Shell
from tests.waiting import until

CHAT = {"model": "simulated", "messages": [{"role": "user", "content": "Hi"}]}


def children(parent: int) -> set[int]:
    return {child.pid for child in psutil.Process(parent).children() if is_serving(child)}


def is_serving(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and "api" in process.cmdline()
    except psutil.NoSuchProcess:  # it has ended since it was listed
        return False


def connected(pids: set[int], port: int) -> set[int]:
    """Return those of the processes that have connections on a port."""
    states = {pid: psutil.Process(pid).net_connections("tcp") for pid in pids}
    return {pid for pid, found in states.items() if any(c.laddr.port == port and c.status == "ESTABLISHED" for c in found)}


async def test_processes_share_a_port_and_one_that_is_killed_is_replaced(cluster: Cluster) -> None:
    model = await cluster.start_model("m")
    cluster.write_config()
    cluster.prefork = None  # the processes are looked for among the children of this one
    api, url = await cluster.start_api("--processes", "2")
    port = int(url.rpartition(":")[2])
    await until(lambda: len(children(api.pid)) == 2, 10, "both processes")
    first = children(api.pid)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:

        async def ask() -> int:
            return (await client.post("/v1/chat/completions", json=CHAT)).status_code

        async def both_are_used() -> bool:
            assert set(await asyncio.gather(*(ask() for _ in range(40)))) == {200}
            return connected(first, port) == first

        async with asyncio.timeout(30):
            while not await both_are_used():  # until the second one has come up
                pass
    killed = next(iter(first))
    psutil.Process(killed).kill()
    await until(lambda: len(children(api.pid) - {killed}) == 2, 20, "another process in its place")
    before = model.seen().total()
    answers = [await asyncio.to_thread(HTTP.post, f"{url}/v1/chat/completions", json=CHAT) for _ in range(10)]
    assert {answer.status_code for answer in answers} == {200}
    assert model.seen().total() == before + 10
    running = children(api.pid)
    api.kill(signal.SIGTERM)
    assert not [pid for pid in running if psutil.pid_exists(pid)]
    assert api.handle is not None and api.handle.poll() == 0


async def test_a_port_in_use_is_said(cluster: Cluster, shell: Shell) -> None:
    await cluster.start_model("m")
    cluster.write_config()
    _, url = await cluster.start_api()
    port = url.rpartition(":")[2]
    done = await asyncio.to_thread(shell, "api", "--config", str(cluster.config), "--port", port, "--processes", "2")
    assert done.returncode == 2
    assert f"port {port} is in use" in done.stderr
