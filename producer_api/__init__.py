"""producer_api."""
