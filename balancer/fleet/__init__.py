"""The fleet as one process uses it: endpoints that requests are sent to, with slots, retries and checks."""
