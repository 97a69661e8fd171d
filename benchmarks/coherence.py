"""Measures which policies can play combinations: `python -m benchmarks.coherence --json=FILE --figure=FILE`.

The problem is spin_jax/envs/one_step.py, known in closed form. In its coupled states the log plays one of a few joint
actions that have little in common. In the other states the slots have the same distributions but are independent.
Every policy clones the log with the learner bc (maximum likelihood); those that read an ASM read the same one.
spin_decode has nothing to train. Figures are exact probabilities of the policies, not counts of draws.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks.measure import settings, write
from spin_jax import command
from spin_jax.envs.one_step import OneStepTask, make_one_step
from spin_jax.from_config import make_learner
from spin_jax.learners.asm import ASMOptimiserConfig, make_asm_learner
from spin_jax.learners.base import Learner
from spin_jax.learners.bc import BCConfig, make_bc
from spin_jax.models.asm import ASMConfig
from spin_jax.models.transformer import BodyConfig
from spin_jax.objectives.masked_modelling import MaskingConfig
from spin_jax.policies.autoregressive import AutoregressiveConfig, make_autoregressive
from spin_jax.policies.base import Policy, encoded
from spin_jax.policies.cached import CachedConfig, make_cached
from spin_jax.policies.decode import DecodeConfig, make_decode
from spin_jax.policies.factored import FactoredConfig, make_factored
from spin_jax.policies.saint import SAINTConfig, make_saint
from spin_jax.policies.spin import SPINConfig, make_spin
from spin_jax.record.progress import setup_logging
from spin_jax.training.loop import fit
from spin_jax.types import Transition

ASM_CONFIG = ASMConfig(
    body=BodyConfig(width=32, num_heads=2, num_blocks=1, ffn_mult=2, dropout=0.0), state_tokens=1, head_width=32
)
MASKING = MaskingConfig(masking="full_range", mask_rate=0.15, full_mask_share=0.3, replace_mask=1.0, replace_random=0.0)
HEADS: dict[str, Any] = {"head_width": 32, "dropout": 0.0}
DECODE: dict[str, Any] = {"rounds": 100, "threshold": 0.0, "select": "argmax", "beta": 1.0}
PRODUCTS: dict[str, tuple[Callable[..., Policy], Any]] = {
    "factored": (make_factored, FactoredConfig(width=64, dropout=0.0)),
    "saint": (make_saint, SAINTConfig(head_width=32, dropout=0.0)),
    "spin": (make_spin, SPINConfig(queries="normal", heads="fresh", **HEADS, frozen_dropout=False)),
    "spin_warm": (make_spin, SPINConfig(queries="mask", heads="asm", **HEADS, frozen_dropout=False)),
    "spin_cached": (make_cached, CachedConfig(heads="fresh", **HEADS)),
}
JOINT: dict[str, tuple[Callable[..., Policy], Any]] = {
    "autoregressive": (
        make_autoregressive,
        AutoregressiveConfig(state_width=32, choice_width=16, lstm_width=64, num_layers=1),
    ),
    "spin_decode": (make_decode, DecodeConfig(candidates=1, **DECODE)),  # one draw, one slot a round
}
ROWS, ASM_STEPS, STEPS, BATCH, CHUNK = 50_000, 2_000, 800, 256, 200
PRODUCTS_LABEL, JOINT_LABEL = "product over slots, given the state", "slots depend on each other"
STATES = 1_000  # new states that every figure is averaged over


def train(learner: Learner, data: Transition, frozen: Any = (), *, steps: int, what: str) -> Any:
    """The learner's state after `steps` gradient steps on the log `data`."""
    init_key, key = jax.random.split(jax.random.key(0))
    blank = data.observation[:1]
    state = jax.jit(learner.init)(init_key, frozen, blank)
    return fit(learner, state, frozen, data, key, num_steps=steps, batch_size=BATCH, max_chunk=CHUNK, what=what)


def steps_of(steps: int, share: float) -> int:
    """A share of `steps`, at least one."""
    return max(1, round(share * steps))


def train_asm(task: OneStepTask, data: Transition, share: float) -> dict:
    """Parameters of an ASM trained with masking over the full range."""
    steps = steps_of(ASM_STEPS, share)
    optimiser = ASMOptimiserConfig(learning_rate=3e-3, clip_norm=1.0, decay_steps=steps)
    learner = make_asm_learner(task.spec, ASM_CONFIG, MASKING, optimiser)
    return train(learner, data, steps=steps, what="asm").params


def clone(name: str, task: OneStepTask, data: Transition, asm: dict, share: float) -> tuple[Policy, Any]:
    """(policy, params) after cloning `data` with the learner bc."""
    make, config = (PRODUCTS | JOINT)[name]
    policy = make(task.spec, ASM_CONFIG, config)
    if name == "spin_decode":
        return policy, ()
    if policy.encode is not None:
        data = data._replace(x=jax.jit(policy.encode)(asm, data.observation))
    learner = make_bc(policy, task.spec, BCConfig(learning_rate=2e-3))
    return policy, train(learner, data, asm, steps=steps_of(STEPS, share), what=name).policy


def measure(task: OneStepTask, policy: Policy, params: Any, asm: dict) -> dict:
    """Figures of a policy in the coupled and in the independent states.

    exact_match: probability that a sampled joint action is a mode of its state. log_likelihood: expected
    log-probability of a uniformly drawn mode, in nats. played: share of modes among one draw per state.
    """
    observation = task.observations(np.random.default_rng(1), STATES)
    cluster = task.cluster(observation)

    @jax.jit
    def evaluate(params, asm, observation, modes, key):
        x = encoded(policy, asm, observation)
        log_probs = jax.lax.map(lambda actions: policy.log_prob(params, asm, x, actions, None), modes)
        return log_probs, policy.sample(params, asm, x, key)

    modes = jnp.asarray(task.modes[cluster].swapaxes(0, 1))
    log_probs, drawn = jax.device_get(evaluate(params, asm, observation, modes, jax.random.key(2)))
    match = (task.modes[cluster] == drawn[:, None]).all(-1).any(-1)
    rows = {"coupled": task.coupled[cluster], "independent": ~task.coupled[cluster]}
    return {
        kind: {
            "exact_match": float(np.exp(log_probs[:, rows]).sum(0).mean()),
            "log_likelihood": float(log_probs[:, rows].mean()),
            "played": float(match[rows].mean()),
        }
        for kind, rows in rows.items()
    }


def choose_by_critics(task: OneStepTask, asm: dict, share: float = 1.0) -> float:
    """Mean reward of spin_decode in coupled states, with IQL's critics choosing among 16 coherent draws."""
    data = jax.device_put(task.log(np.random.default_rng(0), ROWS))
    policy = make_decode(task.spec, ASM_CONFIG, DecodeConfig(candidates=16, **DECODE))
    learner = make_learner(settings("cheetah_run", iql__learning_rate=1e-3), policy, task.spec)
    state = train(learner, data, asm, steps=steps_of(STEPS, share), what="spin_decode, critics")
    observation = task.observations(np.random.default_rng(1), 400)
    observation = observation[task.coupled[task.cluster(observation)]]
    action = jax.jit(learner.act)(state, asm, observation, jax.random.key(2))
    return float(task.reward(observation, np.asarray(action)).mean())


def compare(task: OneStepTask, share: float = 1.0) -> tuple[dict, dict]:
    """({name: figures of the policy}, the ASM's parameters)."""
    data = jax.device_put(task.log(np.random.default_rng(0), ROWS))
    asm = train_asm(task, data, share)
    figures = {}
    for name in PRODUCTS | JOINT:
        policy, params = clone(name, task, data, asm, share)
        figures[name] = measure(task, policy, params, asm)
    return figures, asm


def draw(result: dict, path: pathlib.Path) -> None:
    """Draws every policy's exact-match rate in coupled and in independent states, with lines for best and optimum."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    best, kinds = result["best_product"]["exact_match"], {PRODUCTS_LABEL: PRODUCTS, JOINT_LABEL: JOINT}
    titles = {"coupled": "The log plays one of three combinations"}
    titles["independent"] = "The same choices in every slot, drawn independently"
    for axis, (states, title) in zip(figure.subplots(1, 2, sharey=True), titles.items(), strict=True):
        for (label, names), colour in zip(kinds.items(), ("#4878a8", "#d9822b"), strict=True):
            rates = [result["policies"][name][states]["exact_match"] for name in names]
            bars = axis.barh(list(names), rates, color=colour, height=0.7, label=label)
            inside = {"label_type": "center", "color": "white"}
            outside = states == "coupled" and label == PRODUCTS_LABEL
            axis.bar_label(bars, [f"{rate:.1%}" for rate in rates], **({"padding": 8} if outside else inside))
        axis.axvline(best, color="black", linestyle="--", linewidth=1.2, label=f"best product, {best:.1%}")
        axis.set_title(title, fontsize=11)
        axis.set(xlim=(0, 1.08 if states == "coupled" else 1.3 * best))
        axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.spines[["top", "right"]].set_visible(False)
        if states == "coupled":
            axis.axvline(1, color="seagreen", linestyle="--", linewidth=1.2, label="optimum")
            axis.legend(loc="lower right", bbox_to_anchor=(0.91, 0.32), framealpha=1, fontsize=9)
            axis.invert_yaxis()
    figure.supxlabel("sampled joint actions that are exactly one of the three", fontsize=10)
    figure.savefig(path, dpi=110)


def table(result: dict) -> str:
    """The same rates as text, with the likelihoods."""
    lines = [f"{'exact match in states':<22}{'coupled':>10}{'independent':>13}{'nats (coupled)':>16}"]
    best, optimum = result["best_product"], result["optimum"]
    references = {"best product": {"coupled": best, "independent": best}}
    references["optimum"] = {"coupled": optimum, "independent": best}
    for name, found in (result["policies"] | references).items():
        match = f"{found['coupled']['exact_match']:>10.2%}{found['independent']['exact_match']:>13.2%}"
        lines.append(f"{name:<22}{match}{found['coupled']['log_likelihood']:>16.3f}")
    reward = f"spin_decode with IQL's critics earns {result['critics_reward']:.3f} (best 1, log 0.667)"
    lines.append(f"where the modes pay 1, 1/2 and 1/2, {reward}")
    return "\n".join(lines)


def main(_: list[str]) -> None:
    setup_logging()
    begin, task = time.monotonic(), make_one_step(0)
    policies, asm = compare(task, FLAGS.share)
    reward = choose_by_critics(dataclasses.replace(task, values=np.array([1.0, 0.5, 0.5])), asm, FLAGS.share)
    result = {
        "policies": policies,
        "best_product": {"exact_match": task.product_match_rate(), "log_likelihood": task.product_log_likelihood()},
        "optimum": {"exact_match": 1.0, "log_likelihood": -float(np.log(task.modes.shape[1]))},
        "critics_reward": reward,
        "cardinalities": task.spec.cardinalities,
        "rows": ROWS,
        "steps": {"asm": steps_of(ASM_STEPS, FLAGS.share), "policy": steps_of(STEPS, FLAGS.share), "batch_size": BATCH},
        "seconds": time.monotonic() - begin,
    }
    write(FLAGS.json, **result)
    if FLAGS.figure:
        draw(result, pathlib.Path(FLAGS.figure))
    print(table(result))


FLAGS = flags.FLAGS
if __name__ == "__main__":
    flags.DEFINE_float("share", 1.0, "of the gradient steps, for a try", lower_bound=0.0, upper_bound=1.0)
    flags.DEFINE_string("json", "", "write the result to this file")
    flags.DEFINE_string("figure", "", "write the figure to this file")
    command.run(main)
