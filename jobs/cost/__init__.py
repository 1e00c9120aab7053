"""What a job costs: estimated before, projected while it runs, and capped."""
