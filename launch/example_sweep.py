"""The paper's comparison: SPIN, SAINT and a factored policy with three learners, five seeds each.

python -m launch.sweep launch/example_sweep.py --workdir=DIR
"""


def sweep(add):
    for task in ("cheetah_run", "quadruped_walk", "dog_trot"):
        for policy in ("spin", "saint", "factored"):
            for learner in ("iql", "awac", "bcq"):
                for seed in range(5):  # or one run with num_seeds=5: all seeds in one program, sharing one ASM
                    add(task=task, policy=policy, learner=learner, seed=seed)
