"""A run: a training on disk, what is asked of it, what it is shown and what it leaves."""
