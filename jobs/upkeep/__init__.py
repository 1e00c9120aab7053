"""What is done from time to time: the janitor and the sweep."""
