"""`python -m api_roadbalancer` is `roadbalancer`."""

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line; say what to install where its dependencies are not there."""
    try:
        from api_roadbalancer.cli.main import main as command
    except ModuleNotFoundError as exc:
        sys.exit(f"error: {exc.name} is not installed; the commands need: pip install 'roadbalancer[server]'")
    command()


if __name__ == "__main__":
    main()
