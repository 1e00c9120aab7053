"""Files of the user: reading them in chunks, writing them whole or not at all, and refusing what would overwrite others."""
