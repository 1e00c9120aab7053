"""How the server, the workers and the fleet are doing: health, metrics, usage."""
