"""The commands against a running server (`--server URL`), by its public API and with the rights of a key."""

from api_roadbalancer.remote.server import ServerAddress, TeamServer, choose_server, chosen_server

__all__ = ["ServerAddress", "TeamServer", "choose_server", "chosen_server"]
