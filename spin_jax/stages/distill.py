"""Distils the frozen ASM into a student without a Transformer, between stages 1 and 2 (policies with a distiller)."""

from spin_jax.config.sections import RunConfig
from spin_jax.data.dataset import Dataset
from spin_jax.data.sampler import scaled
from spin_jax.frozen.load import load_asms
from spin_jax.record.workdir import Workdir
from spin_jax.registry import POLICIES
from spin_jax.stages.members import inputs_of
from spin_jax.stages.stage import Stage
from spin_jax.training.loop import Hook


def distill(run: RunConfig, workdir: Workdir, dataset: Dataset) -> dict:
    """Runs or resumes the distillation of all seeds; saves the students in workdir/distill and returns the summary.

    Raises CheckpointError if no matching ASM is found, WorkdirError if it is another one than the stage began with.
    """
    config = run.policy_config
    stage = Stage("distill", run, workdir, config.batch_size, own_frozen=run.asm.per_seed)
    asms = load_asms(run, dataset, [member.asm for member in stage.members])
    stage.reads([inputs_of(member, dataset, asm) for member, asm in zip(stage.members, asms, strict=True)])
    make_distiller = POLICIES[run.policy].distiller
    assert make_distiller is not None  # config.build.stages_of
    learner = make_distiller(dataset.spec, run.asm.model, config)
    frozen = [asm.params for asm in asms]

    def save(step, state):
        stage.save(step, state, {})

    with stage:
        state = stage.begin(learner, frozen, dataset, config.steps)
        stage.fit(
            learner,
            state,
            frozen,
            scaled(dataset.train, asms[0].normaliser),
            num_steps=config.steps,
            hooks=[Hook(run.train.checkpoint_every_steps, save)],
            save=save,
            show=("distill_mse", "distill_kl"),
        )
        return stage.finish([{"seconds": stage.seconds, "steps": config.steps}] * len(stage.members))
