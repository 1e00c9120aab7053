"""What people use instead. Each is a program of its own: `python -m bench.competitors.X`, which prints what it measured."""
