"""quadruped-walk: S 78, N 12, 3 bins.

python main.py --config=configs/quadruped_walk.py:quick --workdir=DIR
    two CPU cores: not measured yet
python main.py --config=configs/quadruped_walk.py --workdir=DIR
    preset paper, for an accelerator: not measured yet
"""

from configs import base


def get_config(preset: str = "paper"):
    return base.get_config("quadruped_walk", preset)
