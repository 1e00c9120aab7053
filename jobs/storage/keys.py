"""The Redis keys of jobs. A job takes a constant number of keys, and a few more for each open shard."""

__all__ = [
    "DISCOVERY", "EVENTS", "FILES", "FLEET", "JANITOR", "JOBS", "LEASES", "PRESENT", "READY", "SERVING", "TURNS", "UNFINISHED",
    "buffer", "busy_since", "deliveries", "file", "files_of", "finalizer", "histories", "history", "job", "jobs_of", "open_lines",
    "open_shards", "recorded", "responses_of", "returned", "shard", "shard_member",
]  # fmt: skip

JOBS = "rb:jobs"
"""Sorted set of all jobs by creation time (s)."""
UNFINISHED = "rb:jobs:unfinished"
"""Set of the jobs that are not final."""
READY = "rb:jobs:ready"
"""Sorted set of the jobs in progress by whose turn it is: lines served so far, less a large sum for each priority."""
LEASES = "rb:leases"
"""Sorted set of the open shards (`job:first line`) by the time (ms) at which they are taken back."""
TURNS = "rb:turns"
"""Hash of endpoint -> the turns of the strategy (see balancer.routing.pick), the fields of `busy_since`, and `version`."""
SERVING = "rb:serving"
"""Hash of worker process -> `expires_ms endpoint,endpoint`: whose queues are consumed."""
PRESENT = "rb:present"
"""Set of the worker processes that keep a connection with their name (see jobs.dispatch.presence)."""
EVENTS = "rb:events"
"""Sorted set of the events of jobs that are to be sent to webhooks (`job:number:status`) by when they are due (s)."""
FLEET = "rb:fleet"
"""Hash of endpoint -> what is different from the configuration (see balancer.configuration.changes)."""
DISCOVERY = "rb:discovery"
"""The process that asks for endpoints now; expires."""
JANITOR = "rb:janitor"
"""The process that is the janitor now; expires."""
FILES = "rb:files"
"""Sorted set of all files by creation time (s)."""


def job(job_id: str) -> str:
    """Hash: the job's record."""
    return f"rb:job:{job_id}"


def jobs_of(owner: str) -> str:
    """Sorted set of the jobs that belong to an API key, by creation time (s)."""
    return f"rb:jobs:of:{owner}"


def open_shards(job_id: str) -> str:
    """Set of the first lines of the job's open shards."""
    return f"rb:job:{job_id}:open"


def returned(job_id: str) -> str:
    """Sorted set of ranges that were cut and came back (see `jobs.dispatch.sizing.ReturnedRange`), by first line."""
    return f"rb:job:{job_id}:returned"


def histories(job_id: str) -> str:
    """Hash of line number -> what was tried for the line (see `jobs.results.history`), for those that wait."""
    return f"rb:job:{job_id}:histories"


def deliveries(job_id: str) -> str:
    """Hash of an event's number -> how it was delivered to the job's webhook (see jobs.webhooks.delivery); expires."""
    return f"rb:job:{job_id}:deliveries"


def finalizer(job_id: str) -> str:
    """Who puts the job's output together (a process, and which of its attempts); expires."""
    return f"rb:job:{job_id}:finalizer"


def shard(job_id: str, first: int) -> str:
    """Hash: an open shard's record."""
    return f"rb:shard:{job_id}:{first}"


def buffer(job_id: str, first: int) -> str:
    """Hash of line number -> `0` or `1` (failed) and the result line: the finished lines of an open shard."""
    return f"rb:buffer:{job_id}:{first}"


def shard_member(job_id: str, first: int) -> str:
    """The name of a shard in LEASES."""
    return f"{job_id}:{first}"


def busy_since(endpoint: str) -> str:
    """Field of TURNS: when (ms) an endpoint without open lines was last given some. No endpoint's name has a bar."""
    return f"since|{endpoint}"


def open_lines(endpoint: str) -> str:
    """Hash of shard -> lines of it that are not finished: what an endpoint has been given."""
    return f"rb:endpoint:{endpoint}:open"


def history(endpoint: str) -> str:
    """List of the samples of an endpoint's last hour, newest first (see jobs.upkeep.history)."""
    return f"rb:endpoint:{endpoint}:history"


def recorded(day: str) -> str:
    """Hash of `key id|count` -> what the results that jobs recorded on a day have used (see jobs.cost.recorded)."""
    return f"rb:recorded:{day}"


def file(file_id: str) -> str:
    """Hash: a file's record."""
    return f"rb:file:{file_id}"


def files_of(owner: str) -> str:
    """Sorted set of the files that belong to an API key, by creation time (s)."""
    return f"rb:files:of:{owner}"


def responses_of(owner: str) -> str:
    """Sorted set of the stored responses that belong to an API key, by creation time (s)."""
    return f"rb:responses:of:{owner}"
