"""Why a policy forgets: drift, weight movement, gradients and their risk, re-alignment.

Every measure is a function of policies, folders and examples. It leaves the policy as it found it, to
the bit, and draws from random streams of its own, so that measuring never changes a training result.
"""
