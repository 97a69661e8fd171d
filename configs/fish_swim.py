"""fish-swim: S 24, N 5, 3 bins.

python main.py --config=configs/fish_swim.py:quick --workdir=DIR
    two CPU cores: 3.1 minutes on one of them, where the log is there; return 773 (data: 722, published expert: 419)
python main.py --config=configs/fish_swim.py --workdir=DIR
    preset paper, for an accelerator: not measured yet
"""

from configs import base


def get_config(preset: str = "paper"):
    return base.get_config("fish_swim", preset)
