"""Raise one when what is measured changes for the same settings and policies."""

RISK_VERSION = 1
PROBE_VERSION = 1
