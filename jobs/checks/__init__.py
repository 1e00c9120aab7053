"""What the answers of a job have to pass (`checks`)."""
