"""Errors of the balancer.

BalancerError
├── ConfigurationError      a configuration file, variable or argument can't be used (also a ValueError)
├── SharedStateUnavailable  Redis can't be reached or refuses to work
├── BalancerClosed          a balancer is used after `close` (also a RuntimeError)
└── UsedAfterFork           a balancer is used in a child process of the one that made it (also a RuntimeError)
"""

__all__ = ["BalancerClosed", "BalancerError", "ConfigurationError", "SharedStateUnavailable", "UsedAfterFork"]


class BalancerError(Exception):
    """Base of every error that this package raises."""


class ConfigurationError(BalancerError, ValueError):
    """A setting can't be used.

    `source` is the file or variable it stands in, `path` the place in it (`endpoints[1].weight`), `reason` what is wrong.
    """

    def __init__(self, source: str, path: str, reason: str) -> None:
        self.source = source
        self.path = path
        self.reason = reason
        super().__init__(": ".join(part for part in (source, path, reason) if part))


class SharedStateUnavailable(BalancerError):
    """Redis can't be reached, or answers that it can't do the work (out of memory, read-only, wrong password)."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"Redis at {url} can't be used: {reason}")


class BalancerClosed(BalancerError, RuntimeError):
    """The balancer has been closed."""

    def __init__(self) -> None:
        super().__init__("this balancer is closed; make a new one")


class UsedAfterFork(BalancerError, RuntimeError):
    """The balancer's loop and connections belong to the process that made it."""

    def __init__(self, maker: int) -> None:
        self.maker = maker
        super().__init__(f"this balancer was made in process {maker}, before the fork; make one in each child process instead")
