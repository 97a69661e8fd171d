"""The cards of a prepared data set: card_<split>.json beside its shards."""

import json
import pathlib
from collections.abc import Callable, Iterator

from spin_jax.data.card import data_card
from spin_jax.data.dataset import check_episodes
from spin_jax.data.rlds import EpisodeSource, open_data_set
from spin_jax.record.progress import log
from spin_jax.record.workdir import write_json
from spin_jax.types import ActionSpec, Episode


def card_path(directory: pathlib.Path, split: str) -> pathlib.Path:
    """The path of a split's card."""
    return directory / f"card_{split}.json"


def is_suite_import(directory: pathlib.Path) -> bool:
    """Whether the data set was imported from the published suite's files, whose `done` has no clear meaning."""
    path = card_path(directory, "train")
    files = json.loads(path.read_text())["made_by"].get("files", []) if path.exists() else []
    return bool(files) and all(file.get("format") == "suite" for file in files)


def read_cards(
    directory: pathlib.Path,
    spec: ActionSpec,
    num_features: int,
    made_by: Callable[[str], dict] = lambda split: {},
    save: bool = False,
) -> dict[str, dict]:
    """The card of every split of the data set; a missing one is computed from the shards, and saved if `save`.

    made_by(split): the origin that a computed card states. Raises DataError if `directory` is no data set of RLDS
    episodes, or if its episodes do not fit the task (check_episodes).
    """
    cards = {}
    for split in open_data_set(str(directory)).info.splits:
        path = card_path(directory, split)
        if path.exists():
            cards[split] = json.loads(path.read_text())
            continue
        log.info(f"data: reading split {split} for its card")
        cards[split] = data_card(_checked(directory, split, spec, num_features), spec, made_by(split))
        if save:
            write_json(path, cards[split])
    return cards


def _checked(directory: pathlib.Path, split: str, spec: ActionSpec, num_features: int) -> Iterator[Episode]:
    """The episodes of a split, each checked as it is read."""
    for i, episode in enumerate(EpisodeSource(str(directory), split)):
        check_episodes([episode], spec, num_features, f"{directory}, split {split}", first=i)
        yield episode
