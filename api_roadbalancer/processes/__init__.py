"""Processes on this machine: a command's session, the embedded Redis, simulated endpoints, children that are kept running."""
