"""cheetah-run: S 17, N 6, 3 bins.

python main.py --config=configs/cheetah_run.py:quick --workdir=DIR
    two CPU cores: 3.6 minutes on one of them, where the log is there; return 706 (data: 635, published expert: 665)
python main.py --config=configs/cheetah_run.py:smoke --workdir=DIR
    two CPU cores: under a minute; a meaningless policy
python main.py --config=configs/cheetah_run.py --workdir=DIR
    preset paper, for an accelerator: not measured yet
"""

from configs import base


def get_config(preset: str = "paper"):
    return base.get_config("cheetah_run", preset)
