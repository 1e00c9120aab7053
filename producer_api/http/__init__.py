"""HTTP plumbing: errors, bodies, headers, limits and the OpenAPI document."""
