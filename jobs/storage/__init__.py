"""Where jobs are kept: the object store for bytes, Redis for records, and locks."""
