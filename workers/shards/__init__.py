"""Runs shards whose lines are sent one by one: reading, sending, hedging, recording, retrying."""
