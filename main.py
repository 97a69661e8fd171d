"""Train SPIN from a log: `python main.py --config=configs/cheetah_run.py:quick --workdir=DIR`.

Stages: data (make, import or find the log), pretrain (Algorithm 1), distill (only for a policy with a student), policy
(Algorithm 2), evaluate (in the simulator) or, where there is none, ope (off-policy evaluation). Rerunning the command
resumes an interrupted run. Where the package is installed, `spin-jax` is the same command.
"""

from spin_jax.run import main_command

if __name__ == "__main__":
    main_command()
