"""The session of a command: configuration, Redis (embedded if none is configured), child processes."""

import asyncio
import contextlib
import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from api_roadbalancer.processes.embedded import EmbeddedRedis, embedded_folder, private_folder, write_private
from api_roadbalancer.processes.named_endpoints import NamedEndpoints
from api_roadbalancer.processes.simulation import with_simulated_endpoints
from api_roadbalancer.processes.supervisor import Child, Supervisor
from api_roadbalancer.telemetry.logs import start_audit
from balancer.configuration import Configuration, dump_configuration, load_configuration
from balancer.errors import ConfigurationError
from jobs.errors import JobError
from jobs.storage.object_store import ObjectStore, ObjectStoreError, store_problem

__all__ = ["NoStore", "Session", "open_session"]


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


class NoStore(JobError):
    """Nothing has been run with a configuration: its store is not there."""

    def __init__(self, store: str) -> None:
        where = "go to the folder where they were run, or name its configuration with --config"
        super().__init__(f"there is no store at {store}, so there are no jobs; {where}")


@contextlib.contextmanager
def open_session(config: Path | None, endpoints: NamedEndpoints | None = None, creates: bool = True) -> Iterator[Session]:
    """Read the configuration and find or start Redis; what was started here is stopped at the end.

    `endpoints` replace those of the configuration. Without `creates`, the store has to exist. Raises
    ConfigurationError, NoStore, and SharedStateUnavailable if the embedded server does not start.
    """
    given = endpoints.settings() if endpoints else []
    configuration = load_configuration(config, endpoints=given, endpoints_from="--endpoint")
    if configuration.audit_file:
        start_audit(configuration.audit_file)
    if not creates and not configuration.redis_url and not embedded_folder(configuration.store).exists():
        raise NoStore(configuration.store)
    # A store that can't be used is found out now, not when the first shard ends.
    try:
        asyncio.run(ObjectStore.open(configuration.store).folders("files"))
    except ObjectStoreError as exc:
        raise ConfigurationError("", "store", f"{configuration.store} can't be used: {store_problem(exc)}") from exc
    if configuration.redis_url:
        yield _warned(Session(configuration, configuration.redis_url))
        return
    embedded = EmbeddedRedis(embedded_folder(configuration.store))
    try:
        yield _warned(Session(configuration, embedded.start(), embedded))
    finally:
        embedded.stop()


def _warned(session: Session) -> Session:
    """Print the ignored settings of a configuration, the first time that it is used with its store."""
    notes = session.configuration.notes
    if not notes:
        return session
    digest = hashlib.sha256(repr(notes).encode()).hexdigest()[:16]
    shown = session.run_folder / f"warnings-{digest}"
    with contextlib.suppress(FileExistsError):
        shown.touch(exist_ok=False)
        for note in notes:
            print(f"warning: {note}", file=sys.stderr)
        print("These warnings are printed once; `roadbalancer config check` prints them again.", file=sys.stderr)
    return session
