"""Records of shards."""

from dataclasses import dataclass

__all__ = ["Shard", "as_batch", "plain_endpoint"]


@dataclass(frozen=True, slots=True)
class Shard:
    """Lines `first` up to (not including) `end` of a job, given to one endpoint. The token fences: a worker that has an older one
    can change nothing. `lost` counts the workers that were lost with it; `blamed` is the line that ran alone when the last one
    was."""

    job_id: str
    first: int
    end: int
    endpoint: str
    token: str
    attempt: int = 0
    lost: int = 0
    blamed: int | None = None

    def __str__(self) -> str:
        return f"{self.job_id} lines {self.first + 1}-{self.end} at {self.endpoint}"

    @property
    def lines(self) -> int:
        """How many lines it has."""
        return self.end - self.first

    @property
    def is_batch(self) -> bool:
        """Whether its lines are handed in as a provider's batches."""
        return self.endpoint.endswith(AS_BATCH)


AS_BATCH = "|batch"
"""Follows an endpoint's name where work is meant that is given to it as the provider's batches. No endpoint's name has a bar."""


def as_batch(endpoint: str) -> str:
    """Return the name for what an endpoint is given as batches."""
    return endpoint + AS_BATCH


def plain_endpoint(name: str) -> str:
    """Return the endpoint's own name, of what it is given as batches as well."""
    return name.removesuffix(AS_BATCH)
