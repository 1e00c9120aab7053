"""The session of a command: configuration, Redis (embedded if none is configured), child processes."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from api_roadbalancer.embedded import EmbeddedRedis, embedded_folder, private_folder, write_private
from api_roadbalancer.named_endpoints import NamedEndpoints
from api_roadbalancer.simulation import with_simulated_endpoints
from api_roadbalancer.supervisor import Child, Supervisor
from balancer.configuration import Configuration, dump_configuration, load_configuration
from jobs.storage.object_store import ObjectStore

__all__ = ["Session", "open_session"]


@dataclass(slots=True)
class Session:
    """The settings of a command, and where Redis is. `embedded` is None where a Redis of the user's is used."""

    configuration: Configuration
    redis_url: str
    embedded: EmbeddedRedis | None = None

    @property
    def run_folder(self) -> Path:
        """Where logs and the children's settings are."""
        folder = embedded_folder(self.configuration.store).parent / "run"
        private_folder(folder)
        return folder

    def start_simulations(self, supervisor: Supervisor) -> None:
        """Start what is simulated, and go on with the real addresses."""

        def start(child: Child) -> None:
            child.log = self.run_folder / "simulated.log"
            supervisor.start(child)

        self.configuration = with_simulated_endpoints(self.configuration, start)

    def settings_file(self) -> Path:
        """Write the settings as they are now for child processes; only the user can read them."""
        path = self.run_folder / "configuration.yaml"
        write_private(path, dump_configuration(replace(self.configuration, redis_url=self.redis_url)).encode())
        return path


@contextlib.contextmanager
def open_session(config: Path | None, endpoints: NamedEndpoints | None = None) -> Iterator[Session]:
    """Read the configuration and find or start Redis; what was started here is stopped at the end.

    `endpoints` stand instead of those of the configuration. Raises ConfigurationError, and SharedStateUnavailable if the
    embedded server does not start.
    """
    given = endpoints.settings() if endpoints else []
    configuration = load_configuration(config, endpoints=given, endpoints_from="--endpoint")
    # A store that can't be used is found out now, not when the first shard ends.
    ObjectStore.open(configuration.store)
    if configuration.redis_url:
        yield Session(configuration, configuration.redis_url)
        return
    embedded = EmbeddedRedis(embedded_folder(configuration.store))
    try:
        yield Session(configuration, embedded.start(), embedded)
    finally:
        embedded.stop()
