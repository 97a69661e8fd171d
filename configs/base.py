"""Every field of the configuration with its published value (preset `paper`), its unit, and the presets' changes.

Presets: `paper` = the published settings; `quick` = two CPU cores, minutes; `smoke` = every stage for real with tiny
sizes, under a minute (what tests use).
"""

from ml_collections import ConfigDict


def get_config(task: str, preset: str) -> ConfigDict:
    """The configuration of a task; raises ValueError on an unknown preset."""
    if preset not in ("paper", "quick", "smoke"):
        raise ValueError(f"Unknown preset {preset!r}; presets: paper, quick, smoke.")
    config = ConfigDict()
    config.task = task  # a name in spin_jax.registry.ENVS
    config.bins = 3  # K, choices of each action dimension, equally spaced in [-1, 1]
    config.policy = "spin"  # a name in spin_jax.registry.POLICIES
    config.learner = "iql"  # a name in spin_jax.registry.LEARNERS
    config.seed = 0  # of both training stages and of evaluation

    config.data = data = ConfigDict()
    data.dir = "~/tensorflow_datasets"  # where TFDS data sets are kept; shared between runs
    data.path = ""  # a prepared RLDS data set to read instead of ours (folder with dataset_info.json); data.level is
    # then a split expression of it, such as train
    data.level = "medium-expert"  # random | medium | expert | medium-expert | random-medium-expert (67 + 67 + 66
    # episodes, 200k transitions) | a TFDS split expression over random, medium and expert
    data.episodes = 1000  # episodes of each of the splits random, medium, expert (1000 steps each)
    data.epsilon = 0.05  # probability of a random sub-action in medium and expert, so that the log has support
    data.seed = 0  # of the roll-outs
    data.normalise = False  # scale observations by the data's mean and standard deviation (kept in the ASM artefact)
    data.num_workers = -1  # environment processes; -1 = one a core, 0 = none

    config.asm = asm = ConfigDict()
    asm.path = ""  # stage 2 loads the ASM from here; "" = the one that stage 1 left in the workdir
    asm.epoch = -1  # which of its epochs; -1 = the last
    asm.other_data = False  # accept an ASM that was trained on other data of the same shape
    asm.width = 256  # D
    asm.num_heads = 4  # H
    asm.num_blocks = 3  # L
    asm.ffn_mult = 2  # feed-forward width as a multiple of D
    asm.state_tokens = 1  # M
    asm.head_width = 128  # hidden units of each slot head
    asm.dropout = 0.1  # probability
    asm.masking = "auto"  # fixed (published) | full_range (ours) | auto = full_range for policy spin_warm, else fixed
    asm.mask_rate = 0.15  # probability that a slot is chosen (fixed)
    asm.full_mask_share = 0.3  # share of rows whose slots are all chosen (full_range)
    asm.replace_mask = 0.8  # share of the chosen slots that become [MASK] (fixed; full_range replaces all)
    asm.replace_random = 0.1  # share of the chosen slots that become a random choice (fixed)
    asm.learning_rate = 4e-4  # Adam
    asm.schedule = "constant"  # constant (published) | cosine = falls to 0 at the last epoch
    asm.clip_norm = 1.0  # global gradient norm
    asm.batch_size = 1024  # transitions
    asm.num_epochs = 100  # of ceil(transitions / batch_size) steps each
    asm.checkpoint_every_epochs = 10  # epochs (epoch 0 is always kept)

    config.spin = spin = ConfigDict()
    spin.queries = "normal"  # normal = N(0, 1) | mask = the ASM's [MASK] embeddings
    spin.heads = "fresh"  # fresh | asm = start from the ASM's slot heads
    spin.head_width = 128  # hidden units of each policy head
    spin.dropout = 0.1  # in the heads
    spin.frozen_dropout = False  # keep dropout on inside the frozen ASM, as the public code does

    config.iql = iql = ConfigDict()
    iql.expectile = 0.8  # of the value regression
    iql.beta = 3.0  # advantage temperature
    iql.weight_clip = 100.0  # largest advantage weight
    iql.gamma = 0.99  # discount a step
    iql.tau = 0.005  # Polyak step of the target critics
    iql.learning_rate = 3e-4  # Adam, all networks
    iql.extract_after = 0  # gradient steps of critics and value alone before the policy starts to learn

    config.train = train = ConfigDict()
    train.num_steps = 1_000_000  # gradient steps of stage 2
    train.batch_size = 256  # transitions
    train.max_chunk = 1000  # gradient steps compiled into one program, at most
    train.checkpoint_every_steps = 10_000  # gradient steps

    config.eval = evaluation = ConfigDict()
    evaluation.every_steps = 5_000  # gradient steps between evaluations during stage 2
    evaluation.episodes = 10  # episodes of those
    evaluation.final_episodes = 20  # episodes of the evaluation at the end
    evaluation.mode = "sample"  # sample actions from the policy | greedy
    evaluation.num_workers = 0  # environment processes; -1 = one a core, 0 = none
    evaluation.video = False  # also write an animated picture of one episode

    if preset in ("quick", "smoke"):
        config.policy = "spin_warm"
        data.update(level="expert", episodes=100, normalise=True)
        asm.update(width=64, num_blocks=2, head_width=64, batch_size=256, num_epochs=32, checkpoint_every_epochs=2)
        asm.update(dropout=0.0, learning_rate=1e-3, schedule="cosine")
        spin.update(queries="mask", heads="asm", head_width=64, dropout=0.0)
        iql.update(extract_after=15_000)
        train.update(num_steps=20_000, checkpoint_every_steps=2_500)
        evaluation.update(every_steps=2_500)
    if preset == "smoke":
        data.update(level="medium-expert", episodes=4, num_workers=0)
        asm.update(width=16, num_heads=2, num_blocks=1, head_width=16, num_epochs=2, checkpoint_every_epochs=1)
        spin.update(head_width=16)
        iql.update(extract_after=40)
        train.update(num_steps=80, batch_size=32, checkpoint_every_steps=20)
        evaluation.update(every_steps=40, episodes=2, final_episodes=2)
    return config
