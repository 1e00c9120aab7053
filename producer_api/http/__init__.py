"""HTTP plumbing: errors, bodies, headers, limits and the OpenAPI document."""

__all__: list[str] = []
