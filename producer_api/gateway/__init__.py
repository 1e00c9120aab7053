"""The interactive door: chat requests that are answered while the caller waits."""

__all__: list[str] = []
