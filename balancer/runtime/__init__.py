"""What a process needs to run: event loops, tasks, threads, file descriptors, its name."""
