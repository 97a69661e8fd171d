"""What a study is: runs as data, what is plotted against what, and the configurations that the runs stand for."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from launch.sweep import full_config
from spin_jax.config.auto import resolve
from spin_jax.config.build import build
from spin_jax.config.sections import RunConfig

# A run: fields of the configuration by their names, and these, which are none: config = the file in configs/; preset
# (quick unless stated); asm_level = the level that its ASM is trained on, if it is another one than the run's;
# body_of = the file in configs/ whose ASM, trained as long as its preset says, gives the body that the run's ASM starts
# from, or NOTHING; stage = "pretrain" for a run that is over when its ASM is trained.
Run = Mapping[str, Any]
NOTHING = "nothing"
NO_FIELDS = ("config", "preset", "asm_level", "body_of", "stage")
MEASURES = {
    "return": "return",
    "ms_per_step": "milliseconds a step of one seed, compilation counted",
    "peak_mb": "most memory of the process in MB",
    "exact_match": "held-out joint actions that the ASM predicts whole",
    "exact_match_untrained": "the same, ASM not trained",
    "accuracy_product": "product of the ASM's slot accuracies",
}


class Study(NamedTuple):
    """A question, and the runs that answer it.

    runs: what differs between them. size: fields of all runs, which say how large they are; --smallest leaves them out.
    x, line, panel: the fields on the horizontal axis, of a line, of a picture. measures: names of MEASURES.
    pooled: a last column over all values of x, whose returns must then have one scale.
    """

    name: str
    question: str
    runs: Sequence[Run]
    size: Run
    x: str
    line: Sequence[str] = ("policy",)
    panel: Sequence[str] = ()
    measures: Sequence[str] = ("return",)
    seeds: int = 5
    pooled: bool = False

    @property
    def whole_runs(self) -> list[Run]:
        """The runs with all their fields."""
        return [{"preset": "quick", "num_seeds": self.seeds, **self.size, **run} for run in self.runs]


def grid(**axes: Sequence[Any]) -> list[Run]:
    """Every combination of the values, the first axis slowest; a dot in a field's name is written as two underscores.

    A value that is a dict gives all its fields.
    """
    names = [name.replace("__", ".") for name in axes]
    return [
        {key: value for name, chosen in zip(names, values, strict=True) for key, value in _fields(name, chosen).items()}
        for values in itertools.product(*axes.values())
    ]


def _fields(name: str, value: Any) -> Run:
    return value if isinstance(value, Mapping) else {name: value}


def smallest(study: Study) -> Study:
    """The first two runs of a study in preset smoke with two seeds."""
    return study._replace(runs=study.runs[:2], size={"preset": "smoke"}, seeds=2)


def settings(run: Run) -> dict[str, Any]:
    """The fields of the configuration that a run sets."""
    return {name: value for name, value in run.items() if name not in NO_FIELDS}


def config_of(run: Run) -> ConfigDict:
    """The resolved configuration, as for a machine without accelerator; raises ConfigError on a wrong one."""
    fields = {f"config.{name}": value for name, value in settings(run).items()}
    return resolve(full_config({"task": run["config"], "preset": run["preset"], **fields}), accelerated=False)


def checked(run: Run) -> RunConfig:
    """The checked configuration of a run; raises ConfigError."""
    return build(config_of(run))
