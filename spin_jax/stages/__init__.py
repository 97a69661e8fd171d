"""The stages of a run, one file each."""

# in the order of `--stage=all`; where there is no simulator, `ope` (off-policy evaluation) stands in for `evaluate`
STAGES = ("data", "pretrain", "distill", "policy", "evaluate")
