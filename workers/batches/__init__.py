"""Runs shards whose lines are handed in as a provider's batches."""
