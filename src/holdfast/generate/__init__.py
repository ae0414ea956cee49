"""Asking for responses: of the policy in this process, of a server, of any other sampler."""
