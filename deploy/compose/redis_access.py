"""Makes the password with which the services of docker-compose.yml use their Redis: once, in a folder that they share.

`redis_access.py FOLDER` writes `url` (ROADBALANCER_REDIS_URL_FILE, for this user alone) and `users.acl` (Redis's `aclfile`, with
the password's SHA-256). The user `roadbalancer` has the rights that docs/operations.md names, others may ping. What exists stays.
"""

import hashlib
import os
import secrets
import sys
from pathlib import Path

RIGHTS = "resetkeys ~* &* +@all -@admin -@dangerous +client|list +info +role"


def write(path: Path, content: str, mode: int) -> None:
    """Put a file in place, whole or not at all."""
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    beside.touch(0o600)
    beside.write_text(content)
    beside.chmod(mode)
    os.replace(beside, path)


def main(folder: Path) -> None:
    """Write both files, unless they are there."""
    url, users = folder / "url", folder / "users.acl"
    if url.exists() and users.exists():
        return
    password = secrets.token_urlsafe(32)
    digest = hashlib.sha256(password.encode()).hexdigest()
    others = "user default on nopass resetkeys resetchannels -@all +ping\n"
    write(users, f"{others}user roadbalancer on #{digest} {RIGHTS}\n", 0o644)
    write(url, f"redis://roadbalancer:{password}@redis:6379/0\n", 0o400)


main(Path(sys.argv[1]))
