"""Traffic signals in SUMO (pip install -e '.[traffic]'): S 102, N 9, 2 to 6 phases a signal.

python main.py --config=configs/traffic.py:quick --workdir=DIR
"""

from configs import base


def get_config(preset: str = "paper"):
    config = base.get_config("traffic", preset)
    config.data.level = "random+fixed_time+longest_queue"  # TFDS split expression over random, fixed_time, pressure and
    # longest_queue (config.bins has no meaning: the network says how many choices a signal has)
    if preset == "quick":
        config.data.episodes = 60  # of 180 steps
        config.asm.num_epochs = 16
        config.train.update(num_steps=10_000, n_step=10)
    return config
