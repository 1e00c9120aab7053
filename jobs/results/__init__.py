"""A job's results: read while it runs, joined when it ends, verified afterwards."""
