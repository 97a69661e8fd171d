"""quadruped-walk: S 78, N 12, 3 bins.

python main.py --config=configs/quadruped_walk.py:quick --workdir=DIR
    two CPU cores: 6.6 minutes on one of them, where the log is there; return 960 (data: 921, published expert: 781)
python main.py --config=configs/quadruped_walk.py --workdir=DIR
    preset paper, for an accelerator: not measured yet
"""

from configs import base


def get_config(preset: str = "paper"):
    config = base.get_config("quadruped_walk", preset)
    if preset == "quick":
        config.eval.num_workers = -1  # these environments cost more than it costs to reach them
    return config
