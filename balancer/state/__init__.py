"""What processes share through Redis, or what one keeps for itself: slots, health and rate limits."""
