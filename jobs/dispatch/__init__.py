"""Dispatch: which endpoint is given which lines of which job, under which lease."""
