"""The load balancers that programs use, and the ways to make them."""
