"""dog-trot: S 223, N 38, 3 bins (10 and 30 with --config.bins=10).

python main.py --config=configs/dog_trot.py:quick --workdir=DIR
    two CPU cores: 7.9 minutes on one of them, where the log is there; return 428 (data: 422, published expert: 724)
python main.py --config=configs/dog_trot.py --workdir=DIR
    preset paper, for an accelerator: not measured yet
python main.py --config=configs/dog_trot.py --workdir=DIR --stage=data --config.data.episodes=20
    two CPU cores: 1 minute for 60 episodes (the published size: about 51 minutes, estimated by the program)
"""

from configs import base


def get_config(preset: str = "paper"):
    config = base.get_config("dog_trot", preset)
    if preset == "quick":
        config.asm.update(num_epochs=5, checkpoint_every_epochs=1)  # an epoch takes most of a minute on two cores
        config.train.num_steps = 10_000
        config.spin_decode.candidates = 8  # each costs a pass for every round of every step that is played
        config.eval.num_workers = -1  # these environments cost more than it costs to reach them
    return config
