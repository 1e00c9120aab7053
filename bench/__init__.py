"""Benchmarks: `python -m bench [names...]`. docs/benchmarks.md says how each figure is made."""
