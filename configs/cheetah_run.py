"""cheetah-run: S 17, N 6, 3 bins."""

from configs import base


def get_config(preset: str = "paper"):
    return base.get_config("cheetah_run", preset)
