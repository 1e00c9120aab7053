"""`/v1/files` and `/v1/batches`, as OpenAI has them."""

__all__: list[str] = []
