"""Traffic signals in SUMO (pip install -e '.[traffic]'): S 102, N 9, 2 to 6 phases a signal.

python main.py --config=configs/traffic.py:quick --workdir=DIR --config.num_seeds=3
    one of two CPU cores: 6.5 minutes, and 6 to roll out the log; returns -18.5, -19.3 and -18.4 (data: -72, its best
    rule: -16.6), that is, minus the mean waiting time of a vehicle in seconds (docs/traffic.md)
python main.py --config=configs/traffic.py:smoke --workdir=DIR
    a minute and a half; a meaningless policy
python main.py --config=configs/traffic.py --workdir=DIR
    preset paper, for an accelerator: not measured yet
"""

from configs import base


def get_config(preset: str = "paper"):
    config = base.get_config("traffic", preset)
    config.data.level = "random+fixed_time+longest_queue"  # TFDS split expression over random, fixed_time, pressure and
    # longest_queue (config.bins has no meaning: the network says how many choices a signal has)
    if preset == "quick":
        config.data.episodes = 60  # of 180 steps
        config.asm.update(num_epochs=8, learning_rate=1e-3)  # 4 epochs at 4e-3 are too few steps: -41 in place of -19
        config.train.num_steps = 10_000
    return config
