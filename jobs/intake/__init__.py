"""Inputs: uploaded files, the form of their lines, and the index of where lines begin."""
