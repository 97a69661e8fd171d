"""The held-out metrics of stage 1 against counts made by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spin_jax.models import categorical
from spin_jax.models.asm import ASM, ASMConfig, full_mask_logits
from spin_jax.models.transformer import BodyConfig
from spin_jax.objectives.masked_modelling import MaskingConfig
from spin_jax.stages import pretrain_asm as pretrain_module
from spin_jax.stages.pretrain_asm import make_probe_metrics, pretrain_asm
from spin_jax.stages.stage import Stage
from spin_jax.types import ActionSpec, Transition

MASKING = MaskingConfig("full_range", 0.15, 0.3, 1.0, 0.0)


@pytest.mark.parametrize("num_slots", [2, 12])
def test_accuracies_are_the_shares_of_right_predictions_and_their_product_is_a_number(num_slots):
    """12 slots, 10 batches: XLA's own product of the means was NaN there. The optimisations that did it are on here."""
    spec = ActionSpec((2,) * num_slots)
    body = BodyConfig(width=8, num_heads=2, num_blocks=1, ffn_mult=2, dropout=0.0)
    asm = ASM(spec, ASMConfig(body, state_tokens=1, head_width=4))
    params = asm.init(jax.random.key(0), jnp.zeros((1, 3)), jnp.zeros((1, num_slots), int))["params"]
    rng = np.random.default_rng(0)
    observation = rng.normal(size=(5000, 3)).astype(np.float32)
    predicted = np.asarray(categorical.mode(full_mask_logits(asm, params, observation), spec.valid))
    action = np.where(rng.random(predicted.shape) < 0.9, predicted, 1 - predicted).astype(np.int32)
    log = Transition(observation, action, np.zeros(5000, np.float32), None, None)
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        found = make_probe_metrics(asm, MASKING, log)(params)
    finally:
        jax.config.update("jax_disable_most_optimizations", True)  # as conftest has it
    right = predicted == action
    np.testing.assert_allclose(found["slot_accuracy"], right.mean(0), rtol=1e-6)
    assert found["exact_match"] == pytest.approx(right.all(1).mean(), rel=1e-6)
    assert found["accuracy_product"] == pytest.approx(right.mean(0).prod(), rel=1e-5)


@pytest.mark.parametrize(("rows", "measured"), [(7, 7), (600, 500), (999, 500), (1999, 1500)])
def test_the_metrics_are_of_rows_from_all_of_the_probe(rows, measured, monkeypatch):
    """In whole batches, but not of its first rows alone."""
    seen = []
    monkeypatch.setattr(
        pretrain_module, "corrupt", lambda key, action, *_: (seen.append(action), (action, action > 0))[1]
    )
    action = np.arange(rows, dtype=np.int32)[:, None]
    asm = ASM(ActionSpec((rows,)), ASMConfig(BodyConfig(8, 1, 1, 2, 0.0), 1, 4))
    make_probe_metrics(asm, MASKING, Transition(np.zeros((rows, 3)), action, np.zeros(rows), None, None))
    (found,) = seen
    assert len(np.unique(found)) == measured
    assert found.min() == 0
    assert found.max() == rows - 1


def test_metrics_of_episodes_that_the_asm_has_not_seen_have_another_name(smoke, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(Stage, "fit", lambda self, learner, state, *_, **__: state)
    for share, name in ((1.0, "trained_on"), (0.5, "all_episodes")):
        run, workdir = smoke(tmp_path / name, asm__top_fraction=share, asm__batch_size=8, asm__num_epochs=0)
        assert pretrain_asm(run, workdir, dataclasses.replace(dataset, probe_name="trained_on"))["probe_name"] == name


def test_the_best_episodes_alone_are_modelled_and_an_epoch_is_shorter(smoke, dataset, tmp_path, monkeypatch):
    """Of two episodes of 20 steps with equal returns, half is the first."""
    seen = []

    def fit(self, learner, state, frozen, data, num_steps, **_):
        seen.append((data, num_steps))
        return state

    monkeypatch.setattr(Stage, "fit", fit)
    run, workdir = smoke(tmp_path / "best", asm__top_fraction=0.5, asm__batch_size=8, asm__num_epochs=2)
    assert pretrain_asm(run, workdir, dataset)["steps"] == 2 * 3
    ((data, num_steps),) = seen
    assert num_steps == 2 * 3
    np.testing.assert_array_equal(data.action, dataset.train.action[:20])
    assert data.observation.shape == (20, 17)


def test_an_epoch_may_be_longer_so_that_its_chunks_are(smoke, dataset, tmp_path, monkeypatch):
    asked = []

    def longer(steps, limit):
        asked.append((steps, limit))
        return steps + 1

    monkeypatch.setattr(Stage, "fit", lambda self, learner, state, frozen, data, **_: state)
    monkeypatch.setattr("spin_jax.stages.pretrain_asm.epoch_length", longer)
    run, workdir = smoke(tmp_path / "longer", asm__batch_size=9, asm__num_epochs=2, train__max_chunk=30)
    assert pretrain_asm(run, workdir, dataset)["steps"] == 2 * 6
    assert asked == [(5, 30)]
