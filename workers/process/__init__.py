"""The Celery process of a worker: its consumer, its pool, its queues, and what keeps it alive."""
