"""A model with its processor: encode prompts, sample groups, log-probabilities, save and load."""
