"""Versions of what makes results: part of the fingerprints of jobs, and readable without torch."""

LEARNER_VERSION = 2  # raise when a stage's result changes for the same settings
FILTER_VERSION = 2  # raise when a filter keeps other examples for the same settings
EVALUATION_VERSION = 3  # raise when records change for the same model and examples
