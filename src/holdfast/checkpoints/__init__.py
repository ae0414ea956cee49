"""Using Holdfast on finished checkpoints: examine one, compare two."""
