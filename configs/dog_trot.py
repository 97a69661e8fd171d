"""dog-trot: S 223, N 38, 3 bins (10 and 30 with --config.bins=10).

python main.py --config=configs/dog_trot.py:quick --workdir=DIR
    one CPU core: 33 minutes; return 382 (data: 422, published expert: 724)
python main.py --config=configs/dog_trot.py --workdir=DIR
    preset paper, for an accelerator: not measured yet
python main.py --config=configs/dog_trot.py --workdir=DIR --stage=data --config.data.episodes=20
    two CPU cores: 1 minute for 60 episodes (the published size: about 51 minutes, estimated by the program)
"""

from configs import base


def get_config(preset: str = "paper"):
    config = base.get_config("dog_trot", preset)
    if preset == "quick":
        config.asm.num_epochs = 16  # half of the other tasks': an epoch takes a minute on two cores
        config.eval.num_workers = -1  # these environments cost more than it costs to reach them
    return config
