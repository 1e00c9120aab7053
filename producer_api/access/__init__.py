"""Who asks, and what the caller may see."""

__all__: list[str] = []
