"""Shows what off-policy evaluation found: a table with words, and a picture."""

import pathlib

import numpy as np
from matplotlib.figure import Figure

from spin_jax.record.files import replacing


def ranked(found: dict) -> list[tuple[str, dict]]:
    """(name, figures) of all policies: the supported ones by their value, then those that the log does not support."""
    return sorted(found["policies"].items(), key=lambda item: (not item[1]["supported"], -item[1]["mean"]))


def judgement(found: dict) -> str:
    """The table of policies, best first, and in words what may be believed of it."""
    lines = [
        f"  judged from the log alone: discounted return from an episode's first state, gamma {found['gamma']:g},",
        f"  {found['episodes']} episodes {_place(found)}",
        f"  {'':<34}{'value':>9}  {'95 %':<22}joint actions in the log",
    ]
    for name, one in ranked(found):
        interval = f"{one['low']:.2f} to {one['high']:.2f}"
        lines.append(f"  {name:<34}{one['mean']:>9.2f}  {interval:<22}{one['joint_share']:>6.1%}  {one['verdict']}")
        if "importance_sampled" in one:
            lines.append(f"  {'  by importance sampling':<34}{_weighed(one)}")
    lines += unfinished(found, "the newest of them")
    lines.append(f"  {'the log itself':<34}{found['log_return']:>9.2f}  ± {2 * found['log_return_error']:.2f}")
    kept = [one for _, one in ranked(found) if one["supported"] and "step" in one]
    if len({one["step"] for one in kept if one["seed"] == kept[0]["seed"]}) > 1:
        seeds = {one.get("seed") for _, one in ranked(found)} - {None}
        of_seed = f" of seed {kept[0]['seed']}" if len(seeds) > 1 else ""
        lines.append(f"  best of the kept steps: {kept[0]['step']}{of_seed} (load and export it with step=best)")
    return "\n".join([*lines, f"  {checked(found)}"])


def _weighed(one: dict) -> str:
    """The value by importance sampling, and how much it rests on."""
    if one["importance_sampled"] is None:
        return f"{'':>9}  the policy plays no episode of the log"
    return f"{one['importance_sampled']:>9.2f}  from {one['effective_episodes']:.1f} effective episodes"


def unfinished(found: dict, name: str) -> list[str]:
    """A line that says at which of its steps a policy was judged, if it was not trained to its end."""
    step, whole = found.get("step"), found.get("num_steps")
    return [] if step is None or step >= whole else [f"  {name} is not finished: step {step} of {whole}"]


def checked(found: dict) -> str:
    """How the estimated value of the cloned behaviour agrees with what the log itself returned."""
    clone = found["policies"]["behaviour, cloned"]["mean"]
    apart, error = clone - found["log_return"], found["log_return_error"]
    if found["unseen_share"] > 0.1:
        return (
            f"The log's own return cannot check the estimates: its episodes end by a time limit with up to "
            f"{found['unseen_share']:.0%} of an endless return behind it."
        )
    spread = max(abs(one["mean"] - clone) for one in found["policies"].values())
    off = abs(apart) > max(3 * error, 0.25 * spread)
    verdict = "the estimates are off by at least as much: do not trust them" if off else "the estimates pass this check"
    return f"Check: the cloned behaviour is estimated {apart:+.2f} from what the log returned; {verdict}."


def _place(found: dict) -> str:
    return "that were held out" if found["measured_on"] == "held_out" else "that were also trained on"


def plot_judgement(found: dict, path: pathlib.Path) -> pathlib.Path:
    """Draws the values with their intervals, and the support and the disagreement of each slot."""
    rows = ranked(found)[::-1]
    figure = Figure(figsize=(13, 1.5 + 0.45 * max(len(rows), 4)), layout="constrained")
    values, support = figure.subplots(1, 2, width_ratios=(1, 1.2))
    for i, (_, one) in enumerate(rows):
        color = "C0" if one["supported"] else "0.6"
        values.errorbar(
            one["mean"],
            i,
            xerr=[[max(one["mean"] - one["low"], 0)], [max(one["high"] - one["mean"], 0)]],
            fmt="o",
            color=color,
            capsize=3,
        )
    values.axvline(found["log_return"], color="C1", linestyle="--", label="the log itself")
    values.set(title="value (grey: not supported by the log)", xlabel=f"discounted return, gamma {found['gamma']:g}")
    values.set_yticks(range(len(rows)), [name for name, _ in rows])
    values.grid(alpha=0.3)
    values.legend(fontsize="small")
    coverage = np.array([one["coverage"] for _, one in rows])
    image = support.imshow(coverage, aspect="auto", cmap="RdYlGn", vmin=0.8, vmax=1, origin="lower")
    support.set_yticks(range(len(rows)), [""] * len(rows))
    slots = found["slots"]
    shown = range(0, len(slots), max(1, len(slots) // 20))
    support.set_xticks(shown, [slots[i] for i in shown], rotation=45, ha="right", fontsize="small")
    support.set_title("coverage: share of choices that the log has (supported: 0.9)")
    figure.colorbar(image, ax=support)
    with replacing(path) as file:
        figure.savefig(file, dpi=110)
    return path
