"""Rounds of a job, in which not each line of its input is sent: only one of those that are the same, or those that failed.

A round has an order of its own (see jobs.intake.line_order), a file with results kept from the round before, and parts.
"""
