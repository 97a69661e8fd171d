"""Algorithm 1: pre-train the Action Structure Model by masked modelling of the log's joint actions."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from spin_jax.config.build import RunConfig
from spin_jax.data.dataset import Dataset
from spin_jax.data.sampler import on_device
from spin_jax.frozen.artefact import describe, open_store
from spin_jax.learners.asm import make_asm_learner
from spin_jax.models import categorical
from spin_jax.models.asm import ASM, full_mask_logits
from spin_jax.objectives.masked_modelling import corrupt
from spin_jax.record.progress import log
from spin_jax.record.workdir import Workdir
from spin_jax.stages.stage import Stage, members, seeds_of
from spin_jax.training.loop import Hook, fit
from spin_jax.types import ActionSpec, Transition

HELD_OUT_ROWS = 10_000  # at most so many held-out transitions are looked at
HELD_OUT_BATCH = 500


def make_held_out_metrics(asm: ASM, masking, held_out: Transition):
    """metrics(params) on held-out transitions, under full masking and under the masking of training.

    exact_match: share of rows whose N slots are all predicted from the state alone; accuracy_product: the product of
    the per-slot accuracies, what independent errors would give; slot_accuracy [N] and masked_slot_accuracy [N].
    """
    rows = np.linspace(0, len(held_out.reward) - 1, min(HELD_OUT_ROWS, len(held_out.reward))).astype(int)
    batch = min(HELD_OUT_BATCH, len(rows))
    rows = rows[: len(rows) // batch * batch]
    observation, action = (x[rows].reshape(-1, batch, *x.shape[1:]) for x in (held_out.observation, held_out.action))
    choices, chosen = corrupt(jax.random.key(0), action.reshape(-1, asm.spec.num_slots), asm.spec, masking)
    choices, chosen = choices.reshape(action.shape), chosen.reshape(action.shape)

    @jax.jit
    def metrics(params):
        def predict(row):
            full = categorical.mode(full_mask_logits(asm, params, row[0]), asm.spec.valid)
            masked = categorical.mode(asm.apply({"params": params}, row[0], row[1]), asm.spec.valid)
            return full, masked

        full, masked = jax.lax.map(predict, (observation, choices))
        right, masked_right = full == action, (masked == action) & chosen
        slot_accuracy = right.mean((0, 1))
        return {
            "exact_match": right.all(-1).mean(),
            "accuracy_product": slot_accuracy.prod(),
            "slot_accuracy": slot_accuracy,
            "masked_slot_accuracy": masked_right.sum((0, 1)) / jnp.maximum(chosen.sum((0, 1)), 1),
        }

    return lambda params: {name: np.asarray(value).tolist() for name, value in metrics(params).items()}


def pretrain_asm(run: RunConfig, workdir: Workdir, dataset: Dataset, spec: ActionSpec) -> dict:
    """Run or resume stage 1; kept epochs go to workdir/asm, the summary of the stage is returned.

    ceil(T / batch_size) steps are an epoch, whether batches are drawn with replacement (memory) or in blocks (stream).
    One ASM for all seeds, or with config.asm.per_seed one each, trained together, in the workdirs of the seeds.
    """
    if run.num_seeds > 1 and not run.asm.per_seed:
        run = dataclasses.replace(run, num_seeds=1)
    team, seeds = members(run, workdir), seeds_of(run)
    config, num_features = run.asm, dataset.num_features
    keys = [jax.random.split(jax.random.key(member.run.seed)) for member in team]
    data = on_device(dataset.train, dataset.normaliser)
    held_out = make_held_out_metrics(
        ASM(spec, config.model), config.masking_config, on_device(dataset.held_out, dataset.normaliser)
    )
    epoch_steps = math.ceil(dataset.num_transitions / config.batch_size)
    num_steps = config.num_epochs * epoch_steps
    learner = make_asm_learner(spec, num_features, config.model, config.masking_config, config.optimiser(num_steps))
    stores, stage = [open_store(member.workdir.asm) for member in team], Stage(team, "pretrain")
    states = stage.begin(lambda i: learner.init(keys[i][0]), num_steps)

    def keep(step, states):
        epoch, rows = step // epoch_steps, []
        for member, store, state in zip(team, stores, states, strict=True):
            metrics = held_out(state.params)
            rows.append({f"held_out/{name}": value for name, value in metrics.items() if np.ndim(value) == 0})
            for name in ("slot_accuracy", "masked_slot_accuracy"):
                rows[-1] |= {f"held_out/{name}_{i}": value for i, value in enumerate(metrics[name])}
            record = {"describes": describe(run, spec, dataset), "epoch": epoch, "step": step, "held_out": metrics}
            arrays = {"params": state.params, "normaliser": dataset.normaliser}
            store.save(epoch, arrays, record | {"seed": member.run.seed, "masking": config.masking})
        stage.write(step, rows)
        stage.save(step, states, {"epoch": epoch})

    with stage:
        if stage.start == 0:
            log.info("pretrain: compiling the held-out metrics, of the untrained ASM first …")
            keep(0, states)
        if stage.start < num_steps:
            state = fit(
                learner,
                seeds.bundle(states),
                (),
                data,
                seeds.bundle([key[1] for key in keys]),
                num_steps=num_steps,
                batch_size=config.batch_size,
                max_chunk=run.train.max_chunk,
                start_step=stage.start,
                seeds=seeds,
                on_metrics=stage.write,
                hooks=[Hook(config.checkpoint_every_epochs * epoch_steps, lambda step, s: keep(step, seeds.split(s)))],
                what="pretrain",
                show=("masked_cross_entropy", "masked_accuracy"),
            )
            states = seeds.split(state)
        summaries = [
            {
                "seconds": stage.seconds,
                "steps": num_steps,
                "untrained": store.record(0)["held_out"],
                "trained": store.record()["held_out"],
                "parameters": sum(x.size for x in jax.tree.leaves(states[0].params)),
            }
            for store in stores
        ]
    stage.finish(summaries)
    return workdir.finish("pretrain", summaries[0])
