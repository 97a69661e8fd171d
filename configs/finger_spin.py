"""finger-spin: S 9, N 2, 3 bins.

python main.py --config=configs/finger_spin.py:quick --workdir=DIR
    two CPU cores: 1.2 minutes on one of them, where the log is there; return 857 (data: 793, published expert: 854)
python main.py --config=configs/finger_spin.py --workdir=DIR
    preset paper, for an accelerator: not measured yet
"""

from configs import base


def get_config(preset: str = "paper"):
    return base.get_config("finger_spin", preset)
