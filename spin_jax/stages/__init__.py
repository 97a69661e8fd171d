"""The stages of a run, one file each."""

STAGES = ("data", "pretrain", "distill", "policy", "evaluate")  # in the order of `--stage=all`
