"""A log of your own: any table of decisions; the data set is imported from config.data.path.

python main.py --config=configs/log.py:quick --workdir=DIR --config.data.path=FILE_OR_DIRECTORY
    two CPU cores: 10 minutes for 20 000 rows, beside other work; no return: it is judged from the log (stage ope)
    Parquet, CSV, npz, Minari, an RLDS data set or the suite's pickles; columns: --config.data.columns.action=slot_*, …
"""

from configs import base


def get_config(preset: str = "paper"):
    config = base.get_config("log", preset)
    config.bins = 0  # every slot has the choices that its column has
    config.data.update(level="train", normalise=True, held_out=0.2)
    if preset == "quick":
        config.policy = "spin_warm"  # its probabilities, by which the log judges it, have a closed form
        config.asm.update(num_epochs=32, learning_rate=1e-3)  # of a small log
        config.train.n_step = 1
    return config
