"""Errors whose message is meant for the person at the terminal."""


class HoldfastError(Exception):
    """Something went wrong while running; the message names the cause and the fix (exit code 1)."""


class InputError(HoldfastError):
    """A setting, file or row the user gave cannot be used; found before any work (exit code 2)."""
