"""The cards of a prepared data set: card_<split>.json beside its shards."""

import os
import pathlib
from collections.abc import Callable, Iterator

from spin_jax.data.card import data_card
from spin_jax.data.dataset import check_episodes
from spin_jax.data.rlds import EpisodeSource, open_data_set
from spin_jax.errors import DataError
from spin_jax.record.files import NUMBER, Each, Fields, read_json, write_json
from spin_jax.record.inputs import file_digest
from spin_jax.record.progress import log
from spin_jax.types import ActionSpec, Episode


def card_path(directory: pathlib.Path, split: str) -> pathlib.Path:
    """The path of a split's card."""
    return directory / f"card_{split}.json"


FIELDS: Fields = {
    **dict.fromkeys(("transitions", "episodes", "terminal_episodes"), int),
    **dict.fromkeys(("return_mean", "return_min", "return_max", "total_correlation_bits"), NUMBER),
    "cardinalities": Each(list, int),
    "unique_joint_actions": dict.fromkeys(("count", "share_of_transitions", "share_of_all"), NUMBER),
    "slot_entropy_bits": Each(list, NUMBER),
    "made_by": dict,
}


def read_card(directory: pathlib.Path, split: str) -> dict | None:
    """The card of a split; None if it has none. Raises DataError on a damaged one."""
    path = card_path(directory, split)
    way_out = "Restore it from a copy; or delete it: then it is computed anew, without the origin of an imported log."
    return read_json(path, DataError, way_out, FIELDS) if os.path.lexists(path) else None


def is_suite_import(directory: pathlib.Path) -> bool:
    """Whether the data set was imported from the published suite's files, whose `done` has no clear meaning."""
    files = (read_card(directory, "train") or {"made_by": {}})["made_by"].get("files", [])
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
        known = (read_card(directory, split) or {}).get("shards", {})
        for path in paths if known else ():
            then, now = known.get(path.name, "nothing"), file_digest(path)
            if then != now:
                card = card_path(directory, split).name
                raise DataError(
                    f"{path} is not the file that {card} beside it was made from: SHA-256 {now[:12]}, there "
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
        found = read_card(directory, split)
        if found is not None:
            cards[split] = found
            continue
        log.info(f"data: reading split {split} for its card")
        card = data_card(_checked(directory, split, spec, num_features), spec, made_by(split))
        cards[split] = card | {"shards": shard_digests(directory, split)}
        if save:
            write_json(card_path(directory, split), cards[split])
    return cards


def _checked(directory: pathlib.Path, split: str, spec: ActionSpec, num_features: int) -> Iterator[Episode]:
    """The episodes of a split, each checked as it is read."""
    for i, episode in enumerate(EpisodeSource(str(directory), split)):
        check_episodes([episode], spec, num_features, f"{directory}, split {split}", first=i)
        yield episode
