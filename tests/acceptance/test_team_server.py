"""The commands against a running server, by HTTP: `--server URL`, from a folder without any configuration."""

from pathlib import Path

import orjson
import pytest

from tests.acceptance.cluster import Cluster, ModelServer
from tests.acceptance.shell import Shell
from tests.waiting import until

LINES = [orjson.dumps({"prompt": f"about {number}", "custom_id": f"c{number}"}) for number in range(20)]


class Team(Shell):
    """Runs commands with a server and the key of its admin."""

    url: str
    model: ModelServer
    key: str

    def ask(self, *arguments: str) -> str:
        """Run a command, and return what it printed."""
        done = self(*arguments, "--server", self.url, "--key-env", "TEAM_KEY")
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
async def team(cluster: Cluster, tmp_path: Path) -> Team:
    model = await cluster.start_model("m", {"price": {"input": 1000.0, "output": 1000.0}}, latency=0.02)
    cluster.write_config()
    assert cluster.prefork
    here = Shell(cluster.folder, cluster.prefork)
    key = here("keys", "create", "boss", "--admin", "--config", str(cluster.config)).stdout.strip()
    _, url = await cluster.start_api()
    await cluster.start_worker()
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    made = Team(folder, cluster.prefork)
    made.environment["TEAM_KEY"] = key
    made.url, made.model, made.key = url, model, key
    made.write("in.jsonl", b"\n".join(LINES) + b"\n")
    return made


async def test_a_job_is_submitted_watched_and_read(team: Team) -> None:
    job_id = team.ask("submit", "in.jsonl", "--priority", "3", "--window", "1h").strip()
    shown = team.ask("status", job_id, "--watch")
    assert "20/20" in shown and "20 done" in shown
    status = orjson.loads(team.ask("status", job_id, "--json"))
    assert (status["id"], status["status"], status["completed"], status["total"]) == (job_id, "completed", 20, 20)
    assert status["cost"] > 0 and status["shares"] == {"m": 20}
    printed = team.ask("results", job_id).splitlines()
    assert [orjson.loads(line)["custom_id"] for line in printed] == [f"c{number}" for number in range(20)]
    team.ask("results", job_id, "-o", "out.jsonl")
    assert (team.folder / "out.jsonl").read_text().splitlines() == printed
    asked = [orjson.loads(line) for line in team.ask("results", job_id, "--with-input").splitlines()]
    assert asked[7]["request"]["messages"][0]["content"] == "about 7"
    assert orjson.loads(team.ask("results", job_id, "--id", "c7"))["custom_id"] == "c7"
    assert job_id in team.ask("list") and "completed" in team.ask("list")
    assert not (team.folder / "data").exists(), "nothing is kept here"


async def test_a_job_is_steered_cancelled_and_its_lines_are_sent_again(team: Team) -> None:
    team.model.behave(latency=0.5)
    team.ask("endpoints", "set", "m", "max_concurrency=2")
    job_id = team.ask("submit", "in.jsonl").strip()
    assert "paused" in team.ask("pause", job_id)
    assert "paused" in team.ask("why", job_id)
    assert "in_progress" in team.ask("resume", job_id)
    assert "in_progress" in team.ask("change", job_id, "--priority", "5", "--endpoints", "m")
    following = team.begin("results", job_id, "--follow", "--server", team.url, "--key-env", "TEAM_KEY")
    await until(lambda: b"custom_id" in (team.folder / "begun.log").read_bytes(), 20, "results of a job under way")
    assert "cancel" in team.ask("cancel", job_id)
    await until(lambda: orjson.loads(team("status", job_id, "--json", *team_options(team)).stdout)["status"] == "cancelled", 20)
    assert following.wait(20) == 1
    team.model.behave(latency=0.02)
    team.ask("retry", job_id)
    assert "20/20" in team.ask("status", job_id, "--watch")
    assert len(team.ask("results", job_id).splitlines()) == 20


async def test_fleet_keys_and_usage(team: Team) -> None:
    assert "● up" in team.ask("endpoints")
    team.ask("endpoints", "add", "http://127.0.0.1:9/v1", "--name", "spare", "--models", "other")
    team.ask("endpoints", "drain", "spare")
    assert "draining" in team.ask("endpoints")
    team.ask("endpoints", "undrain", "spare")
    team.ask("endpoints", "remove", "spare")
    assert [each["name"] for each in orjson.loads(team.ask("endpoints", "--json"))] == ["m"]
    secret = team.ask("keys", "create", "one", "--rpm", "60", "--max-files", "5").strip()
    team.ask("keys", "limit", "one", "--parallel", "2")
    assert "60 requests/min, 2 at once, 5 files" in team.ask("keys", "list")
    other = team.ask("keys", "rotate", "one", "--overlap", "1h").strip()
    assert len({secret, other}) == 2
    team.environment["OWN"] = other
    assert team("endpoints", "--server", team.url, "--key-env", "OWN").returncode == 2
    assert team("list", "--server", team.url, "--key-env", "OWN").returncode == 0
    assert "deleted 0 jobs, 0 files" in team.ask("keys", "erase", "one", "--yes")
    assert "revoked" in team.ask("keys", "revoke", "one")
    job_id = team.ask("submit", "in.jsonl").strip()
    team.ask("status", job_id, "--watch")

    def counted() -> bool:
        rows = orjson.loads(team.ask("usage", "--by", "source", "--json"))["data"]
        return [(row["source"], row["requests"]) for row in rows] == [("jobs", 20)]

    await until(counted)
    assert "jobs" in team.ask("usage", "--by", "source,endpoint")


async def test_what_is_wrong_is_said_in_a_line(team: Team) -> None:
    for arguments, said in [
        (("status", "batch_1", "--server", "ftp://x"), "--server must be the address of an API"),
        (("status", "batch_1", "--server", "http://127.0.0.1:9"), "http://127.0.0.1:9 can't be reached"),
        (("status", "batch_1", "--server", team.url, "--key-env", "NONE"), "the variable NONE is not set"),
        (("status", "batch_1", "--server", team.url), "the key is read from ROADBALANCER_API_KEY"),
        (("status", "batch_1", *team_options(team)), "batch_1"),
        (("list", "--server", team.model.url), "Unknown path: /api/v1/jobs"),
        (("submit", "nowhere.jsonl", *team_options(team)), "there is no file"),
    ]:
        done = team(*arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert done.stderr.startswith("error: ") and said in done.stderr, (arguments, done.stderr)
    team.write("bad.jsonl", b'{"prompt": 7}\n')
    done = team("submit", "bad.jsonl", *team_options(team))
    assert done.returncode == 2 and "can't be used; nothing was sent" in done.stderr
    mixed = b'{"custom_id": "e", "url": "/v1/embeddings", "body": {"model": "m", "input": "a"}}'
    team.write("mixed.jsonl", LINES[0] + b"\n" + mixed + b"\n")
    done = team("submit", "mixed.jsonl", *team_options(team))
    assert (done.returncode, done.stdout) == (2, "") and "line 2" in done.stderr, done.stderr
    team.environment |= {"ROADBALANCER_SERVER": team.url, "ROADBALANCER_API_KEY": team.key}
    assert team("list").returncode == 0


def team_options(team: Team) -> tuple[str, ...]:
    return ("--server", team.url, "--key-env", "TEAM_KEY")
