"""api_roadbalancer."""
