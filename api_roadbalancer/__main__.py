"""`python -m api_roadbalancer` is `roadbalancer`."""

from api_roadbalancer.cli.main import main

main()
