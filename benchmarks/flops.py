"""Floating-point operations of an update step, counted by hand; spin_jax.training.operations has XLA's count."""

from spin_jax.config.sections import RunConfig
from spin_jax.learners.iql import IQLConfig
from spin_jax.types import ActionSpec


def hand_gflop(run: RunConfig, spec: ActionSpec, num_features: int) -> float | None:
    """The matrix products of one IQL update, counted by hand; None for other learners and for spin_decode.

    A product with a trained weight costs three times its forward pass: the forward pass itself, the weight's gradient
    and the input's gradient. A frozen weight needs no gradient: twice. The first layer of a network needs no gradient
    of its input: once less.
    """
    if run.learner != "iql" or run.policy == "spin_decode":
        return None
    s, n, k, batch = num_features, spec.num_slots, spec.num_choices, run.train.batch_size

    def trained(first: int, *others: int) -> int:
        return 2 * first + 3 * sum(others)

    config = run.learner_config
    assert isinstance(config, IQLConfig)
    c, v = config.critic_width, config.value_width
    critic, value = (s * c, c * c, c * n * k), (s * v, v * v, v)
    learning = config.num_critics * (sum(critic) + trained(*critic)) + sum(value) + trained(*value)
    return 2 * batch * (learning + POLICY_COUNTS[run.policy](run, s, n, k)) / 1e9


def _heads(run: RunConfig, n: int, k: int) -> tuple[int, int]:
    return n * run.asm.width * run.policy_config.head_width, n * run.policy_config.head_width * k


def _cached(run, s, n, k):
    first, second = _heads(run, n, k)
    return 2 * first + 3 * second


def _transformer(run: RunConfig, s: int, n: int, k: int) -> int:
    """Multiplications a row of SPIN (frozen weights) and SAINT (trained ones)."""
    d, m, ffn, blocks = run.asm.width, run.asm.state_tokens, run.asm.ffn_mult, run.asm.num_blocks
    times = 3 if run.policy == "saint" else 2
    asks = 3 if run.policy == "saint" else 1  # of what lies before the queries' first use
    total = asks * s * 2 * d + asks * 2 * d * m * d - (s * 2 * d if asks == 3 else 0)
    tokens = m + n
    for i in range(blocks):
        reads = m if i == 0 else tokens  # the queries' own projections are made once a step, not once a row
        writes = n if i == blocks - 1 else tokens
        asked = n if i == blocks - 1 and i > 0 else reads
        weights = d * d * (asked + 2 * reads) + writes * (d * d + 2 * ffn * d * d)
        total += times * weights + 3 * 2 * writes * tokens * d
    return total + 3 * sum(_heads(run, n, k))


def _factored(run, s, n, k):
    width = run.policy_config.width
    return 2 * s * width + 3 * (width * width + width * n * k)


def _autoregressive(run, s, n, k):
    config = run.policy_config
    w, e, c = config.lstm_width, config.state_width, config.choice_width
    steps = c * 4 * w + w * 4 * w + (config.num_layers - 1) * 2 * w * 4 * w + w * k
    return 2 * s * e + 3 * e * 4 * w + 3 * n * steps


def _distill(run, s, n, k):
    width, d = run.policy_config.width, run.asm.width
    return 2 * s * width + 3 * (width * width + width * n * d + sum(_heads(run, n, k)))


POLICY_COUNTS = {
    "spin": _transformer,
    "spin_warm": _transformer,
    "saint": _transformer,
    "spin_cached": _cached,
    "factored": _factored,
    "autoregressive": _autoregressive,
    "spin_distill": _distill,
}
