"""The command line: `holdfast …`. Heavy modules are imported by the commands that need them."""

from holdfast.cli.app import main

__all__ = ["main"]
