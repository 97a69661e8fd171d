"""The structured problems (docs/structured.md): S 10, 2 to 64 slots of 2 to 128 choices, a knob for their dependence.

python main.py --config=configs/structured.py:quick --workdir=DIR
    two CPU cores: 1.5 minutes on one of them; return 19.0 (dependence 0.5; data: 13.7, optimum: 19)
python main.py --config=configs/structured.py:smoke --workdir=DIR
    two CPU cores: under a minute; a meaningless policy
python main.py --config=configs/structured.py --workdir=DIR
    preset paper, for an accelerator: not measured yet
"""

from configs import base


def get_config(preset: str = "paper"):
    config = base.get_config("structured", preset)
    knobs = {name: config.structured.get_oneway_ref(name) for name in config.structured}
    # references, so the task's name follows the fields wherever they are set
    size = "structured_" + knobs["slots"].to_str() + "x" + knobs["choices"]
    config.task = size + "_" + knobs["dependence"].to_str() + "_" + knobs["coverage"].to_str()
    base.play_on_device(config, preset)
    config.data.epsilon = 0.01  # of sub-actions: one random one spoils a pattern
    if preset == "quick":
        config.data.update(level="medium-expert", episodes=500)
        config.asm.num_epochs = 16  # of a small log
        config.train.update(num_steps=6_000, n_step=5)
        config.eval.update(every_steps=2_000, final_episodes=200)  # each costs spin_decode many passes
    return config
