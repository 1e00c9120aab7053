"""Workers: the Celery app, the shard task, and the asyncio engine that runs a shard's lines."""
