"""Makes an animated picture of a policy that plays."""

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from PIL import Image

from spin_jax.config.sections import RunConfig
from spin_jax.evaluation.evaluator import evaluation_seed
from spin_jax.frozen.artefact import FrozenASM
from spin_jax.record.files import replacing
from spin_jax.record.progress import Progress
from spin_jax.registry import ENVS
from spin_jax.types import normalise

EVERY = 4  # control steps between pictures
LONGEST = 200  # milliseconds of a picture; slower tasks are shown faster than in real time
STEPS = 500  # control steps at most


def write_video(path: pathlib.Path, run: RunConfig, act: Callable, state: Any, asm: FrozenASM) -> pathlib.Path:
    """Plays the first STEPS steps of evaluation episode 0 greedily and writes them as animated WebP.

    It shows real time, or faster if a picture would stand longer than LONGEST.

    Raises RenderingError if the renderer cannot be loaded.
    """
    env = ENVS[run.task](run.task, run.bins)
    policy = jax.jit(lambda observation: act(state, asm.params, normalise(asm.normaliser, observation), None))
    observation, pictures, last, step = env.reset(evaluation_seed(run.seed, 0)), [], False, 0
    with Progress("video", STEPS) as progress:
        while not last and step < STEPS:
            if step % EVERY == 0:
                pictures.append(Image.fromarray(env.render()))
            observation, _, _, last = env.step(np.asarray(policy(observation[None]))[0])
            step += 1
            progress.update(step)
    duration = min(round(1000 * env.control_seconds * EVERY), LONGEST)
    with replacing(path) as file:
        pictures[0].save(file, "WEBP", save_all=True, append_images=pictures[1:], duration=duration, loop=0, quality=60)
    return path
