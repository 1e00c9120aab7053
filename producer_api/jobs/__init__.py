"""`/api/v1/jobs`: bulk jobs with progress and partial results."""
