"""The maze with N actuators (docs/maze.md): S 2, N slots of 2 choices, 2^N joint actions.

python main.py --config=configs/maze.py:quick --workdir=DIR --config.maze.actuators=7
    two CPU cores: 0.8 minutes on one of them with 5 actuators, return 98.5 (data 74, planner 99.5); 1.4 with 15, 98.2
python main.py --config=configs/maze.py:smoke --workdir=DIR
    two CPU cores: under a minute; a meaningless policy
python main.py --config=configs/maze.py --workdir=DIR
    preset paper, for an accelerator: not measured yet
"""

from configs import base


def get_config(preset: str = "paper"):
    config = base.get_config("maze", preset)
    config.task = "maze_" + config.maze.get_oneway_ref("actuators").to_str()  # follows the field wherever it is set
    base.play_on_device(config, preset)
    if preset == "quick":
        config.policy = "spin_warm"  # there is little structure to gain from, and it plays far faster than spin_decode
        config.data.level = "medium-expert"
        config.asm.num_epochs = 16  # of a small log
        config.train.update(num_steps=10_000, n_step=5)
    return config
