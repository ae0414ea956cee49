"""Holdfast: continual post-training of vision-language models, and what it makes them forget."""

__version__ = "0.1.0"
