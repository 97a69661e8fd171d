"""The cards of a prepared data set: card_<split>.json beside its shards."""

import json
import pathlib
from collections.abc import Callable, Iterator

from spin_jax.data.card import data_card
from spin_jax.data.dataset import check_episodes
from spin_jax.data.rlds import EpisodeSource, open_data_set
from spin_jax.errors import DataError
from spin_jax.record.inputs import file_digest
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


def shard_digests(directory: pathlib.Path, split: str) -> dict[str, str]:
    """{file name: SHA-256} of the shards of a split, as its card has them under 'shards'."""
    shards = EpisodeSource(str(directory), split).shards
    return {path.name: file_digest(path) for path in shards[split]}


def check_shards(directory: pathlib.Path, expression: str) -> None:
    """Raises DataError if a shard that a split expression reads is not the one that its split's card was made from.

    Files are compared, not episodes: so part of a split is checked, too, and a card stays small. Splits without a card,
    and with a card of an older version, pass.
    """
    for split, paths in EpisodeSource(str(directory), expression).shards.items():
        card = card_path(directory, split)
        known = json.loads(card.read_text()).get("shards", {}) if card.exists() else {}
        for path in paths if known else ():
            then, now = known.get(path.name, "nothing"), file_digest(path)
            if then != now:
                raise DataError(
                    f"{path} is not the file that {card.name} beside it was made from: SHA-256 {now[:12]}, there "
                    f"{then[:12]}. It is damaged, or of another log. Restore it from a copy, or move {directory} away "
                    f"and make the data set anew."
                )


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
        card = data_card(_checked(directory, split, spec, num_features), spec, made_by(split))
        cards[split] = card | {"shards": shard_digests(directory, split)}
        if save:
            write_json(path, cards[split])
    return cards


def _checked(directory: pathlib.Path, split: str, spec: ActionSpec, num_features: int) -> Iterator[Episode]:
    """The episodes of a split, each checked as it is read."""
    for i, episode in enumerate(EpisodeSource(str(directory), split)):
        check_episodes([episode], spec, num_features, f"{directory}, split {split}", first=i)
        yield episode
