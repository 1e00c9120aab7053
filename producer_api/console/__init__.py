"""The console: pages that speak to this API alone, with the rights of the key that is typed into them.

Static modules without a build step: what a browser loads is what stands in `static`. The page holds nothing that is worth a key,
and opens without one. See docs/console.md.
"""

from pathlib import Path

__all__ = ["ASSETS", "FOLDER", "PAGE"]

ASSETS = "/console"
"""Where the files of the page are."""
FOLDER = Path(__file__).parent / "static"
PAGE = FOLDER / "index.html"
