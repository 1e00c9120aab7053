"""What is shown of a running fleet: endpoints, workers and jobs, and what a job waits for."""
