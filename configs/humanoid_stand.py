"""humanoid-stand: S 67, N 21, 3 bins.

python main.py --config=configs/humanoid_stand.py:quick --workdir=DIR
    two CPU cores: 7 minutes, and 5 more to roll out the log the first time; return 650 (data: 452)
python main.py --config=configs/humanoid_stand.py --workdir=DIR
    preset paper, for an accelerator: not measured yet
"""

from configs import base


def get_config(preset: str = "paper"):
    config = base.get_config("humanoid_stand", preset)
    if preset == "quick":
        config.asm.num_epochs = 5  # an epoch takes half a minute on one core
        config.spin_decode.candidates = 8  # each costs a pass for every round of every step that is played
        config.eval.num_workers = -1  # these environments cost more than it costs to reach them
    return config
