"""Every field of the configuration with its published value (preset `paper`), its unit, and the presets' changes.

Presets: `paper` = the published settings; `quick` = minutes on two CPU cores; `smoke` = every stage for real with tiny
sizes, in under a minute (tests use it).
"""

from ml_collections import ConfigDict


def get_config(task: str, preset: str) -> ConfigDict:
    """The configuration of a task; raises ValueError on an unknown preset."""
    if preset not in ("paper", "quick", "smoke"):
        raise ValueError(f"Unknown preset {preset!r}; presets: paper, quick, smoke.")
    config = ConfigDict()
    config.task = task  # a name in spin_jax.registry.ENVS
    config.bins = 3  # K, choices of each action dimension, equally spaced in [-1, 1]; no meaning for tasks with
    # choices of their own: traffic, maze_…, structured_…
    config.policy = "spin"  # a name in spin_jax.registry.POLICIES
    config.learner = "iql"  # a name in spin_jax.registry.LEARNERS
    config.seed = 0  # of both training stages and of evaluation
    config.num_seeds = 1  # the seeds seed, seed + 1, … run in one program, each with its own folder and figures
    config.seeds_per_batch = 0  # seeds that are trained as one batch; 0 = all on accelerators, 1 on CPU
    config.precision = "float32"  # of the Transformer's products: float32 (published) | bfloat16 (parameters, softmax
    # and losses stay float32) | auto = bfloat16 on accelerators, float32 on CPU

    config.data = data = ConfigDict()
    data.dir = "~/tensorflow_datasets"  # where TFDS data sets are kept; shared between runs
    data.path = ""  # a prepared RLDS data set to read instead of ours (folder with dataset_info.json); data.level is
    # then one of its split expressions, such as train
    data.level = "medium-expert"  # random | medium | expert | medium-expert | random-medium-expert (67 + 67 + 66
    # episodes) | a TFDS split expression over random, medium and expert (or the task's own levels)
    data.episodes = 1000  # episodes of each of the splits random, medium, expert (DM Control: of 1000 steps each)
    data.epsilon = 0.05  # probability of a random sub-action in all splits but random, so that the log has support
    data.seed = 0  # of the roll-outs
    data.normalise = False  # scale observations by the data's mean and standard deviation (kept in the ASM artefact)
    data.held_out = 0.0  # share of the episodes that is kept from training, for the ASM's held-out metrics (at least
    # one if it is above 0) | 0 = none (published); the metrics are then of episodes that are trained on (of all, if
    # asm.top_fraction is below 1)
    data.done = "terminal"  # the meaning of `done` in a log imported from the suite's files: terminal = no value behind
    # it (published) | truncation = a time limit, values go on
    data.mode = "memory"  # memory = transitions on the device | stream = read from disk while training
    data.shards = 0  # groups that the transitions are divided into; every group gives an equal share of a batch, so the
    # batches depend on it | 0 = one, or one for each device along mesh.data if a device cannot hold them all (memory)
    data.block_episodes = 16  # the transitions of this number of episodes are shuffled together (stream)
    data.num_workers = -1  # environment processes; -1 = one per core, 0 = none
    # of a log of your own (configs/log.py): names of columns, several separated by commas, slot_* = all that begin so;
    # "" = by the usual names, none = the log has no such column
    data.columns = columns = ConfigDict()
    columns.observation = ""  # a column of lists, or columns of single values; "" = also: what no other field takes
    columns.action = ""  # a column of lists, or a column for each slot; text and numbers alike
    columns.reward = ""
    columns.episode = ""  # tells the rows of an episode from others; each_row = every row is an episode of its own
    columns.step = ""  # orders the rows of an episode; "" = as in the file
    columns.terminal = ""  # the episode ended by termination: no value behind it
    columns.timeout = ""  # the episode was cut off: values go on
    columns.propensity = ""  # probability with which the logging policy chose the row's joint action
    columns.next_observation = ""
    columns.categorical = ""  # columns of the observation that are categories and become one-hot
    columns.choices = ""  # a JSON file {slot: [choice, …]} with the choices of slots; "" = those that occur

    config.asm = asm = ConfigDict()
    asm.path = ""  # stage 2 loads the ASM from this folder, and no stage 1 runs; "" = the ASM that stage 1 saved in the
    # workdir
    asm.per_seed = False  # with several seeds: False = all share the first seed's ASM | True = an ASM for each seed
    asm.epoch = -1  # the epoch of the ASM that stage 2 loads; -1 = the last
    asm.other_data = False  # accept an ASM that was trained on other data of the same shape
    asm.body_path = ""  # stage 1 starts from the body of the ASM in this folder, of any log or task; "" = from nothing
    asm.width = 256  # D
    asm.num_heads = 4  # H
    asm.num_blocks = 3  # L
    asm.ffn_mult = 2  # feed-forward width as a multiple of D
    asm.state_tokens = 1  # M
    asm.head_width = 128  # hidden units of each slot head
    asm.dropout = 0.1  # probability
    asm.positions = "none"  # none (published: slots are a set) | learned | sinusoidal, for ordered sub-actions
    asm.state_free = False  # True: the ASM does not see the state; SPIN trains a state encoder of its own in stage 2
    asm.masking = "auto"  # fixed (published) | full_range (ours) | auto = fixed for spin, full_range for spin_…
    asm.mask_rate = 0.15  # probability that a slot is chosen (fixed)
    asm.full_mask_share = 0.3  # share of rows in which all slots are chosen (full_range)
    asm.replace_mask = 0.8  # share of the chosen slots that become [MASK] (fixed; full_range replaces all)
    asm.replace_random = 0.1  # share of the chosen slots that become a random choice (fixed)
    asm.learning_rate = 4e-4  # Adam
    asm.schedule = "constant"  # constant (published) | cosine = falls to 0 at the last epoch
    asm.clip_norm = 1.0  # global gradient norm
    asm.batch_size = 1024  # transitions
    asm.top_fraction = 1.0  # share of the episodes, those of the highest returns, that the ASM is trained on
    asm.num_epochs = 100  # of ceil(transitions / batch_size) steps each, or up to 1 % more
    asm.checkpoint_every_epochs = 10  # epochs (epoch 0 is always kept)

    config.spin = spin = ConfigDict()
    spin.queries = "normal"  # normal = N(0, 1) | mask = the ASM's [MASK] embeddings
    spin.heads = "fresh"  # fresh | asm = start from the ASM's slot heads
    spin.head_width = 128  # hidden units of each policy head
    spin.dropout = 0.1  # in the heads
    spin.finetune = "frozen"  # frozen (published) | trained = encoder and body keep learning in stage 2
    spin.asm_learning_rate = 3e-5  # Adam, for encoder and body (finetune = trained); no schedule changes it
    spin.finetune_after = 0  # policy steps before encoder and body start to learn (finetune = trained)

    config.spin_cached = cached = ConfigDict()
    cached.heads = "fresh"  # fresh | asm = start from the ASM's slot heads (the warm start)
    cached.head_width = 128  # hidden units of each policy head
    cached.dropout = 0.1  # in the heads

    config.spin_distill = distill = ConfigDict()
    distill.width = 256  # units of each of the student's two hidden layers
    distill.heads = "fresh"  # fresh | asm
    distill.head_width = 128  # hidden units of each policy head
    distill.dropout = 0.1  # in the heads
    distill.steps = 50_000  # gradient steps of the distillation
    distill.batch_size = 256  # transitions, of the distillation
    distill.learning_rate = 1e-3  # Adam, of the distillation
    distill.kl_weight = 1.0  # weight of the divergence from the ASM's slot predictions, beside the squared error

    config.spin_decode = decode = ConfigDict()
    decode.candidates = 32  # joint actions drawn from the ASM in each state
    decode.rounds = 4  # rounds of unmasking (1 = one pass, a product distribution)
    decode.threshold = 0.3  # no choice that is less than this times as probable as its slot's best is drawn (0 = any)
    decode.select = "softmax"  # softmax of beta times the critics' values (IQL's policy) | argmax of them
    decode.beta = 3.0  # factor of the critics' values in the softmax

    config.saint = saint = ConfigDict()  # body as in section asm, trained from scratch with asm.dropout
    saint.head_width = 128  # hidden units of each slot head
    saint.dropout = 0.1  # in the heads

    config.factored = factored = ConfigDict()
    factored.width = 256  # units of each of the two hidden layers
    factored.dropout = -1.0  # after each hidden layer; -1 = as published: 0 with bcq, 0.1 with the other learners

    config.autoregressive = autoregressive = ConfigDict()
    autoregressive.state_width = 128  # width of the state's embedding
    autoregressive.choice_width = 32  # width of the embedding of the previous slot's choice
    autoregressive.lstm_width = 256
    autoregressive.num_layers = 2

    critics = ConfigDict()  # of every learner with critics
    critics.gamma = 0.99  # discount a step
    critics.tau = 0.005  # Polyak step of the targets
    critics.learning_rate = 3e-4  # Adam, all networks
    critics.lr_decay = 1.0  # factor of learning rates (but spin.asm_learning_rate) after each step (1 = none)
    critics.q = "sum"  # Q(s, a) is the sum (SPIN) | mean (DecQN) of the slots' utilities
    critics.num_critics = 2  # E
    critics.critic_width = 256  # units of each of a critic's two hidden layers

    config.iql = iql = ConfigDict(critics.to_dict())
    iql.expectile = 0.8  # of the value regression
    iql.beta = 3.0  # advantage temperature
    iql.weight_clip = 100.0  # largest advantage weight
    iql.bc_alpha = 0.0  # weight of plain cloning beside weighted cloning
    iql.value_width = 256  # units of each of V's two hidden layers
    iql.extract_after = 0  # gradient steps of critics and value alone before the policy starts to learn; -1 = three
    #   quarters of train.num_steps if the policy starts from the ASM's slot heads, else 0

    config.awac = awac = ConfigDict(critics.to_dict())
    awac.temperature = 0.3  # lambda: the weight is exp(advantage / lambda)
    awac.weight_clip = 100.0  # largest advantage weight
    awac.normalize_weights = False  # divide the weights by their mean over the batch
    awac.bc_alpha = 0.0  # weight of plain cloning beside weighted cloning
    awac.value_width = 256  # units of each of V's two hidden layers

    config.bcq = bcq = ConfigDict(critics.to_dict())
    bcq.threshold = 0.3  # a choice is allowed if its probability is at least this share of its slot's highest

    config.cql = cql = ConfigDict(awac.to_dict())  # AWAC with conservative critics
    cql.alpha = 1.0  # weight of the penalty
    cql.penalty = "slots"  # slots = over all joint actions, exact by decomposition | candidates = over the ASM's draws
    cql.candidates = 16  # joint actions drawn from the ASM in each state (penalty = candidates)

    config.bc = bc = ConfigDict()
    bc.learning_rate = 3e-4  # Adam
    bc.top_fraction = 1.0  # share of the episodes, those of the highest returns, that is cloned (percentile cloning)

    config.train = train = ConfigDict()
    train.num_steps = 1_000_000  # gradient steps of stage 2
    train.batch_size = 256  # transitions
    train.n_step = 1  # steps of reward before a target bootstraps (1 = published); more steps help critics to tell the
    #   policies of a mixed log apart
    train.always_dropout = True  # dropout is on wherever a network with dropout is asked while training: inside of the
    #   frozen body, in BCQ's support, in the target of AWAC's V (published) | False = only where gradients flow through
    train.policy_schedule = "constant"  # constant (published) | cosine = the policy's learning rate falls to 0
    train.max_chunk = 1000  # most gradient steps that are compiled into one program
    train.checkpoint_every_steps = 10_000  # gradient steps
    train.keep_policies = 1  # the last checkpoints of stage 2 that stay; off-policy evaluation judges all of them

    config.mesh = mesh = ConfigDict()  # of all devices: seed times data is their number
    mesh.seed = 0  # devices that share the seeds | 0 = the greatest common divisor of num_seeds and devices
    mesh.data = 0  # devices that share a batch | 0 = what is left

    config.eval = evaluation = ConfigDict()
    evaluation.every_steps = 5_000  # gradient steps between evaluations during stage 2
    evaluation.episodes = 10  # episodes of each evaluation during stage 2
    evaluation.final_episodes = 20  # episodes of the evaluation at the end
    evaluation.mode = "sample"  # sample actions from the policy | greedy
    evaluation.num_workers = -1  # environment processes; -1 = one per core, 0 = none
    evaluation.asynchronous = "auto"  # evaluation beside training: on | off | auto = on with an accelerator or more
    # than two cores
    evaluation.device = "auto"  # where the evaluated policy computes during stage 2: cpu | accelerator | auto = cpu if
    # evaluation runs beside training
    evaluation.video = False  # also write an animated picture of one episode

    config.ope = ope = ConfigDict()  # off-policy evaluation: fitted Q evaluation of policies from the log alone
    ope.gamma = 0.99  # discount a step of the values that are estimated
    ope.steps = 10_000  # gradient steps for each policy
    ope.batch_size = 256  # transitions
    ope.learning_rate = 1e-3  # Adam, falls to 0 as a cosine
    ope.tau = 0.05  # Polyak step of the targets; tau * steps must be at least 4 / (1 - gamma)
    ope.members = 4  # critics, each learned from its own draw of the episodes
    ope.width = 128  # units of each of a critic's two hidden layers
    ope.draws = 4  # actions of the policy drawn in each next state
    ope.clone_steps = 5_000  # most gradient steps of the behaviour's clone

    config.maze = maze = ConfigDict()  # of configs/maze.py, which makes the task's name of it
    maze.actuators = 5  # N, from 3 to 15

    config.structured = structured = ConfigDict()  # of configs/structured.py, which makes the task's name of it
    structured.slots = 8  # N, from 2 to 64
    structured.choices = "4"  # K of every slot, from 2 to 128 | several, such as 2-7-100: the slots take them in turn
    structured.dependence = 0.5  # 0 = every slot's choice counts by itself … 1 = only right joint actions count
    structured.coverage = 1.0  # share of each state's right joint actions that the levels medium and expert play

    if preset in ("quick", "smoke"):
        config.update(policy="spin_decode", precision="auto")
        data.update(level="expert", episodes=100, normalise=True, held_out=0.05, done="truncation")
        asm.update(width=64, num_blocks=2, head_width=64, batch_size=256, checkpoint_every_epochs=2)
        asm.update(dropout=0.0, learning_rate=1e-3, schedule="cosine")
        spin.update(head_width=64)
        cached.update(heads="asm", head_width=64)
        distill.update(heads="asm", head_width=64, steps=6_000)
        saint.update(head_width=64)
        autoregressive.update(state_width=64, lstm_width=64)
        iql.update(extract_after=-1)
        train.update(policy_schedule="cosine", always_dropout=False)
        evaluation.num_workers = 0
    if preset == "quick":
        asm.update(num_epochs=8, learning_rate=4e-3)
        for section in (iql, awac, bcq, cql, config.bc):
            section.learning_rate = 1e-3
        for section in (iql, awac, bcq, cql):
            section.critic_width = 128
        for section in (iql, awac, cql):
            section.value_width = 128
        train.update(num_steps=20_000, batch_size=128, n_step=10, checkpoint_every_steps=5_000)
    if preset == "smoke":
        config.policy = "spin_warm"  # which has an actor to train
        data.update(level="medium-expert", episodes=4, num_workers=0)
        asm.update(width=16, num_heads=2, num_blocks=1, head_width=16, num_epochs=2, checkpoint_every_epochs=1)
        for section in (spin, cached, distill, saint):
            section.head_width = 16
        distill.update(width=32, steps=40, batch_size=32)
        decode.update(candidates=4, rounds=2)
        factored.width = 32
        autoregressive.update(state_width=16, choice_width=8, lstm_width=16)
        train.update(num_steps=80, batch_size=32, checkpoint_every_steps=20)
        evaluation.update(every_steps=40, episodes=2, final_episodes=2)
        ope.update(gamma=0.9, steps=100, width=32, clone_steps=250, tau=0.5)
    return config


def play_on_device(config: ConfigDict, preset: str) -> None:
    """Settings of tasks that are pure functions: their episodes are played in one compiled program, all at once."""
    config.data.num_workers = 0  # a step costs less than to send it to a process
    if preset != "smoke":
        config.eval.update(episodes=100, final_episodes=1000)
