"""Algorithm 1: pre-trains the Action Structure Model by masked modelling of the log's joint actions."""

import math
import pathlib
from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from spin_jax.config.sections import RunConfig
from spin_jax.data.dataset import Dataset
from spin_jax.data.sampler import scaled
from spin_jax.data.transitions import of_the_best
from spin_jax.frozen.artefact import describe, open_store
from spin_jax.frozen.body import load_body, starting_from
from spin_jax.learners.asm import ASMState, make_asm_learner
from spin_jax.models import categorical
from spin_jax.models.asm import ASM, full_mask_logits
from spin_jax.objectives.masked_modelling import MaskingConfig, corrupt
from spin_jax.record.checkpoint import digest, flatten
from spin_jax.record.inputs import Input
from spin_jax.record.processes import first, is_first
from spin_jax.record.progress import log
from spin_jax.record.workdir import Workdir
from spin_jax.stages.members import inputs_of, of_asm
from spin_jax.stages.stage import Stage
from spin_jax.training.keys import stream
from spin_jax.training.loop import Hook, chunk_limit, epoch_length
from spin_jax.types import Transition

PROBE_ROWS = 10_000  # the metrics use at most this number of the probe's transitions
PROBE_BATCH = 500


def make_probe_metrics(asm: ASM, masking: MaskingConfig, probe: Transition) -> Callable[[dict], dict]:
    """metrics(params) on the probe's transitions, under full masking and under the masking of training.

    Full masking (from the state alone): exact_match, the share of rows with all N slots right; slot_accuracy [N];
    accuracy_product, the product of the slot accuracies, which equals exact_match if errors are independent. Masking of
    training: masked_slot_accuracy [N], over the chosen positions.
    """
    count = min(PROBE_ROWS, len(probe.reward))
    batch = min(PROBE_BATCH, count)
    rows = np.linspace(0, len(probe.reward) - 1, count // batch * batch).astype(int)  # whole batches, of all the probe
    observation, action = (x[rows].reshape(-1, batch, *x.shape[1:]) for x in (probe.observation, probe.action))
    choices, chosen = corrupt(stream(0, "pretrain/probe"), action.reshape(-1, asm.spec.num_slots), asm.spec, masking)
    choices, chosen = choices.reshape(action.shape), chosen.reshape(action.shape)

    @jax.jit
    def metrics(params):
        def predict(row):
            full = categorical.mode(full_mask_logits(asm, params, row[0]), asm.spec.valid)
            masked = categorical.mode(asm.apply({"params": params}, row[0], row[1]), asm.spec.valid)
            return full, masked

        full, masked = jax.lax.map(predict, (observation, choices))
        right, masked_right = full == action, (masked == action) & chosen
        return {
            "exact_match": right.all(-1).mean(),
            "slot_accuracy": right.mean((0, 1)),
            "masked_slot_accuracy": masked_right.sum((0, 1)) / jnp.maximum(chosen.sum((0, 1)), 1),
        }

    def measure(params: dict) -> dict:
        found = {name: np.asarray(value) for name, value in metrics(params).items()}
        # numpy multiplies: XLA's CPU code (JAX 0.10.2) for the product of 11 to 31 means is NaN
        found["accuracy_product"] = found["slot_accuracy"].prod(dtype=np.float64)
        return {name: value.tolist() for name, value in found.items()}

    return measure


class Epochs:
    """Saves the ASM after an epoch: an artefact of every seed with the probe's metrics, and a checkpoint to resume."""

    def __init__(self, stage: Stage, dataset: Dataset, epoch_steps: int):
        config = stage.run.asm
        self._stage, self._dataset, self._epoch_steps = stage, dataset, epoch_steps
        self._stores = [open_store(member.workdir.asm) for member in stage.members]
        probe = cast(Transition, scaled(dataset.probe, dataset.normaliser))
        self._name = dataset.probe_name  # with top_fraction, the ASM has seen only some of the episodes in the log
        if self._name == "trained_on" and config.top_fraction < 1:
            self._name = "all_episodes"
        self._metrics = make_probe_metrics(ASM(dataset.spec, config.model), config.masking_config, probe)

    def keep(self, step: int, state: ASMState) -> None:
        """Saves the ASM after `step` gradient steps."""
        stage, epoch, rows = self._stage, step // self._epoch_steps, []
        states = stage.seeds.split(stage.layout.host(state))
        for member, store, own in zip(stage.members, self._stores, states, strict=True) if is_first() else ():
            metrics = self._metrics(own.params)
            record = {"describes": describe(stage.run, self._dataset), "epoch": epoch, "step": step}
            record |= {"num_epochs": stage.run.asm.num_epochs}
            record |= {"probe": metrics, "probe_name": self._name}
            record |= {"seed": member.run.seed, "masking": stage.run.asm.masking}
            store.save(epoch, {"params": own.params, "normaliser": self._dataset.normaliser}, record)
            rows.append(_row(self._name, metrics))
        if not stage.has(step, f"{self._name}/exact_match"):  # it has, of an epoch that is made anew
            stage.write(step, rows)
        self.save(step, state)

    def are_kept(self, step: int) -> bool:
        """Whether the epoch that ends with `step` is there; True, too, if it is not one to keep."""
        config, epoch = self._stage.run.asm, step // self._epoch_steps
        due = step % (config.checkpoint_every_epochs * self._epoch_steps) == 0 or epoch == config.num_epochs
        return not due or first(lambda: all(epoch in store.steps() for store in self._stores))

    def save(self, step: int, state: ASMState) -> None:
        """Saves a checkpoint to resume, at any step."""
        self._stage.save(step, state, {"epoch": step // self._epoch_steps})

    def records(self) -> list[dict]:
        """{probe_name, untrained, trained} of every seed: metrics of the untrained ASM and of the last epoch."""
        name = {"probe_name": self._name}
        return [
            name | {"untrained": store.record(0)["probe"], "trained": store.record()["probe"]} for store in self._stores
        ]


def _row(probe_name: str, metrics: dict) -> dict[str, float]:
    """The probe's metrics as a row of numbers; a metric of single slots becomes one number for each slot."""
    row: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, list):
            row |= {f"{probe_name}/{name}_{i}": slot for i, slot in enumerate(value)}
        else:
            row[f"{probe_name}/{name}"] = value
    return row


def pretrain_asm(run: RunConfig, workdir: Workdir, dataset: Dataset) -> dict:
    """Runs or resumes stage 1; saves the kept epochs in workdir/asm and returns the summary of the first seed.

    An epoch has ceil(T / batch_size) steps (or up to 1 % more, see `epoch_length`), whether batches are drawn with
    replacement (memory) or in blocks (stream); T counts the transitions of the config.asm.top_fraction of the episodes
    with the highest returns.
    All seeds share one ASM. With config.asm.per_seed, each seed has its own ASM in its own workdir, and all are trained
    together. config.asm.body_path names an ASM, of any log or task, whose body they start from. The epoch at which the
    stage resumes is saved anew if somebody deleted it, such as a damaged last one.
    """
    run = of_asm(run)
    config, stage = run.asm, Stage("pretrain", run, workdir, run.asm.batch_size)
    body = load_body(pathlib.Path(config.body_path).expanduser(), config.model.body) if config.body_path else None
    other = {} if body is None else {"body": Input(digest(flatten(body)), config.body_path)}
    stage.reads([inputs_of(member, dataset) | other for member in stage.members])
    rows = of_the_best(dataset.train, dataset.returns, dataset.lengths, config.top_fraction)
    count = dataset.num_transitions if config.top_fraction == 1 else len(rows.reward)
    limit = chunk_limit(dataset.train, config.batch_size, run.train.max_chunk)
    epoch_steps = epoch_length(math.ceil(count / config.batch_size), limit)
    num_steps = config.num_epochs * epoch_steps
    learner = make_asm_learner(dataset.spec, config.model, config.masking_config, config.optimiser(num_steps))
    if body is not None:
        learner = starting_from(body, learner)
    frozen = [()] * len(stage.members)  # stage 1 reads nothing that is frozen
    epochs = Epochs(stage, dataset, epoch_steps)
    with stage:
        state = stage.begin(learner, frozen, dataset, num_steps)
        if not stage.resumed:
            log.info("pretrain: compiling the metrics of the untrained ASM …")
            epochs.keep(0, state)
        elif not epochs.are_kept(stage.start):
            log.info(f"pretrain: saving the ASM of step {stage.start} anew")
            epochs.keep(stage.start, state)
        state = stage.fit(
            learner,
            state,
            frozen,
            scaled(rows, dataset.normaliser),
            num_steps=num_steps,
            hooks=[Hook(config.checkpoint_every_epochs * epoch_steps, epochs.keep)],
            save=epochs.save,
            show=("masked_cross_entropy", "masked_accuracy"),
        )
        parameters = sum(x.size for x in jax.tree.leaves(state.params)) // run.num_seeds
        facts = {"seconds": stage.seconds, "steps": num_steps, "parameters": parameters}
        return stage.finish([facts | record for record in first(epochs.records)])
