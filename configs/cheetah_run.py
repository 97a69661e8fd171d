"""cheetah-run: S 17, N 6, 3 bins.

python main.py --config=configs/cheetah_run.py:quick --workdir=DIR
    two CPU cores: 7 minutes; return 660 (data: 635, published expert: 665)
… --config.data.level=medium-expert --config.asm.num_epochs=16 --config.train.n_step=10
    mixed data: 5.6 minutes where the log is there; return 396 to 633 over seeds 0 to 2 (data: 429)
python main.py --config=configs/cheetah_run.py:smoke --workdir=DIR
    two CPU cores: under a minute; a meaningless policy
python main.py --config=configs/cheetah_run.py --workdir=DIR
    preset paper, for an accelerator: not measured yet
"""

from configs import base


def get_config(preset: str = "paper"):
    return base.get_config("cheetah_run", preset)
