"""Which learners are tried with which policies: a choice in which each occurs several times, or all of them.

A pair compiles for seconds, and there are forty. EVERY_PAIR=1 tries all, and the quick run of every task, as is due
after a change of what a learner asks of a policy.
"""

import os

from spin_jax.registry import LEARNERS, POLICIES

EVERY_PAIR = os.environ.get("EVERY_PAIR") == "1"
ALSO = {("awac", "autoregressive"), ("bcq", "spin_cached"), ("cql", "spin_decode")}


def tried(learner: str, policy: str) -> bool:
    """Whether a learner is tried with a policy."""
    return EVERY_PAIR or learner == "iql" or policy == "spin" or (learner, policy) in ALSO


PAIRS = [(learner, policy) for learner in LEARNERS for policy in POLICIES if tried(learner, policy)]
