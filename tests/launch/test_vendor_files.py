"""The files for clouds and clusters: what they say fits main.py and setup.py, and the scripts run with stand-in tools.

The structures that are checked are those of the JobSet v1alpha2 and batch/v1 APIs and of SkyPilot's task YAML.
"""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml

ROOT = pathlib.Path(__file__).parent.parent.parent
LAUNCH = ROOT / "launch"
SCRIPTS = ["tpu_vm.sh", "xpk.sh", "slurm.sbatch"]
VENDOR = [*SCRIPTS, "gke_jobset.yaml", "sky.yaml", "Dockerfile"]
MAIN_FLAGS = set(re.findall(r'flags\.DEFINE_\w+\(\s*"(\w+)"', (ROOT / "spin_jax" / "run.py").read_text()))
EXTRAS = re.findall(r'^        "(\w+)": \[', (ROOT / "setup.py").read_text(), re.MULTILINE)
PREEMPTED = 75
ARGUMENTS = ["--config=configs/dog_trot.py:smoke", "--workdir=/bucket/a run", "--config.asm.path=it's"]


def read(name: str) -> str:
    return (LAUNCH / name).read_text()


def jobset() -> dict:
    return yaml.safe_load(read("gke_jobset.yaml"))


def commands_of(name: str) -> list[str]:
    """Each command of main.py in a file, also in its comments and code blocks, without its line breaks."""
    text = re.sub(r"\\\n#?", " ", read(name))
    if name == "gke_jobset.yaml":
        (container,) = jobset()["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"]
        text = "main.py " + " ".join(container["args"])
    lines = text.splitlines()
    return [line for line in lines if re.search(r"main\.py --|\.(sh|sbatch) |launch\.\w+ |docker run |ARGS=", line)]


def given_to_main(command: str) -> list[str]:
    """The names of the flags that a command gives to main.py: those behind `--` or behind the program's name."""
    behind = re.split(r" -- |main\.py(?= --)|\.sbatch|--env ARGS=|(?<!ssh) spin (?=--)", command)[-1]
    return [] if "launch." in behind else re.findall(r"(?<!\S)'?--([\w.]+)", behind)


def test_the_parser_of_commands_finds_them():
    """Guards the two tests below against finding nothing."""
    counts = {name: sum(map(len, map(given_to_main, commands_of(name)))) for name in (*VENDOR, "README.md")}
    assert all(count >= 2 for count in counts.values()), counts
    assert given_to_main("python main.py --distributed=auto --config.data.dir=x") == ["distributed", "config.data.dir"]


@pytest.mark.parametrize("name", [*VENDOR, "README.md", "example_sweep.py", "local_processes.py"])
def test_every_flag_is_one_of_main(name):
    used = {flag for command in commands_of(name) for flag in given_to_main(command)}
    assert {flag for flag in used if not flag.startswith("config.")} <= MAIN_FLAGS


@pytest.mark.parametrize("name", VENDOR)
def test_short_and_without_hyper_parameters(name):
    lines = read(name).splitlines()
    assert len(lines) < 40
    assert max(map(len, lines)) <= 120
    fields = set(re.findall(r"--(config\.[\w.]+)", read(name)))
    assert fields <= {"config.data.dir"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_shell_accepts(name):
    subprocess.run(["bash", "-n", LAUNCH / name], check=True)


def test_jobset_structure():
    spec, meta = jobset()["spec"], jobset()["metadata"]
    assert (jobset()["apiVersion"], jobset()["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert set(meta) == {"name", "annotations"}
    assert set(spec) == {"failurePolicy", "replicatedJobs"}
    (replicated,) = spec["replicatedJobs"]
    job = replicated["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    # a slice of 4x4 chips: as many pods as hosts, and chips of a pod times pods = chips
    across, down = map(int, pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"))
    assert job["parallelism"] == job["completions"]
    assert job["parallelism"] * container["resources"]["limits"]["google.com/tpu"] == across * down
    assert pod["restartPolicy"] == "Never"  # the API asks for it beside a podFailurePolicy
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    (volume,) = pod["volumes"]
    assert volume["csi"]["driver"] == "gcsfuse.csi.storage.gke.io"
    assert job["template"]["metadata"]["annotations"] == {"gke-gcsfuse/volumes": "true"}
    assert (
        f"uid={re.search(r'--uid=([0-9]+)', read('Dockerfile'))[1]},"
        in volume["csi"]["volumeAttributes"]["mountOptions"]
    )


def test_jobset_starts_again_after_preemptions_without_counting_them():
    spec = jobset()["spec"]
    job = spec["replicatedJobs"][0]["template"]["spec"]
    assert job["backoffLimit"] == 0  # one failed pod fails the job: its partners cannot go on without it
    by_code, by_node = job["podFailurePolicy"]["rules"]
    assert by_code == {
        "action": "FailJob",
        "onExitCodes": {
            "containerName": job["template"]["spec"]["containers"][0]["name"],
            "operator": "In",
            "values": [PREEMPTED],
        },
    }
    assert by_node == {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    (rule,) = spec["failurePolicy"]["rules"]
    assert re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", rule.pop("name"))
    assert rule == {"action": "RestartJobSetAndIgnoreMaxRestarts", "onJobFailureReasons": ["PodFailurePolicy"]}
    assert spec["failurePolicy"]["maxRestarts"] > 0


def test_jobset_variables_are_those_of_its_command():
    said, used = re.split("\napiVersion", read("gke_jobset.yaml"))
    assert set(re.findall(r"\$(\w+)", used)) == set(re.findall(r"([A-Z_]+)=", said))


def test_sky_structure():
    task = yaml.safe_load(read("sky.yaml"))
    assert set(task) == {"name", "workdir", "resources", "envs", "file_mounts", "setup", "run"}
    resources = task["resources"]
    assert set(resources) == {"infra", "accelerators", "accelerator_args", "use_spot", "job_recovery"}
    assert resources["use_spot"] is True
    assert resources["job_recovery"] == {"max_restarts_on_errors": 3, "recover_on_exit_codes": [PREEMPTED]}
    assert {name for name, value in task["envs"].items() if value is None} == {"BUCKET", "ARGS"}
    assert task["file_mounts"] == {"/bucket": {"source": "gs://${BUCKET}", "mode": "MOUNT"}}
    for script in (task["setup"], task["run"]):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert re.findall(r"\$(\w+)", task["run"]) == ["ARGS"]


def test_dockerfile_backends_are_extras_of_the_package():
    text = re.sub(r"^#.*\n", "", read("Dockerfile"), flags=re.MULTILINE)
    instructions = [line.split(maxsplit=1) for line in re.sub(r"\\\n", " ", text).splitlines() if line]
    names = [name for name, _ in instructions]
    assert set(names) <= {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT"}
    (default,) = [rest for name, rest in instructions if name == "ARG"]
    (install,) = [rest for name, rest in instructions if name == "RUN" and "BACKEND" in rest]
    cases = dict(re.findall(r"(\w+)\) pip install --no-cache-dir -e '?\.(?:\[(\w+)\]')? ;;", install))
    assert cases == {"cpu": "", "cuda": "cuda", "tpu": "tpu"}
    assert {"cuda", "tpu"} <= set(EXTRAS)
    assert default.removeprefix("BACKEND=") in cases
    assert names[-2:] == ["USER", "ENTRYPOINT"]
    assert instructions[-1][1] == '["python", "main.py"]'
    copied = " ".join(rest for name, rest in instructions if name == "COPY").split()
    assert all((ROOT / path).exists() for path in copied)
    assert {"main.py", "setup.py", "README.md", "spin_jax", "configs"} <= set(copied)


def test_dockerfile_refuses_another_backend():
    text = re.sub(r"\\\n", " ", read("Dockerfile"))
    (install,) = re.findall(r"^RUN (case .*)$", text, re.MULTILINE)
    for backend, code in (("cuda", 0), ("cdua", 1)):
        shell = ["sh", "-c", f"pip() {{ echo pip $*; }}; {install}"]
        done = subprocess.run(shell, env={"BACKEND": backend}, capture_output=True, text=True)
        assert done.returncode == code
        assert done.stdout == ("pip install --no-cache-dir -e .[cuda]\n" if code == 0 else "")
    assert done.stderr == "BACKEND is cdua; it must be cpu, cuda or tpu\n"


@pytest.fixture
def tools(tmp_path):
    """run(script, tool_bodies, **environment) -> (exit code, [argv of each call of a stand-in tool])."""

    def run(script, bodies, **environment):
        log = tmp_path / "log"
        for name, body in bodies.items():
            tool = tmp_path / name
            tool.write_text(f'#!/bin/bash\nprintf "%s\\0" {name} "$@" >> {log}; printf "\\n\\0" >> {log}\n{body}\n')
            tool.chmod(0o755)
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path), **environment}
        arguments = ARGUMENTS if script.endswith("sbatch") else ["--", *ARGUMENTS]
        done = subprocess.run(["bash", LAUNCH / script, *arguments], env=environment, capture_output=True, timeout=20)
        calls = log.read_text().split("\n\0") if log.exists() else []
        return done.returncode, [call.split("\0")[:-1] for call in calls if call]

    return run


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (1, False), (PREEMPTED, True)])
def test_slurm_requeues_only_preempted_jobs(tools, code, requeued):
    environment = {"SLURM_SUBMIT_DIR": str(ROOT), "SLURM_JOB_ID": "12"}
    returned, calls = tools("slurm.sbatch", {"srun": f"exit {code}", "scontrol": ""}, **environment)
    assert returned == code
    assert calls[0] == ["srun", "--kill-on-bad-exit=0", "python", "main.py", "--distributed=auto", *ARGUMENTS]
    assert calls[1:] == [["scontrol", "requeue", "12"]] * requeued


def test_slurm_asks_for_what_resuming_needs():
    options = re.findall("^#SBATCH (.*)$", read("slurm.sbatch"), re.MULTILINE)
    assert {"--requeue", "--signal=TERM@120", "--open-mode=append"} <= set(options)
    tasks, gpus = (re.search(rf"--{name}-per-node=(\d+)", read("slurm.sbatch"))[1] for name in ("ntasks", "gpus"))
    assert tasks == gpus  # JAX gives a process of Slurm one GPU


CLOUD = {"PROJECT": "p", "ZONE": "z", "NAME": "spin", "ACCELERATOR": "v5litepod-16"}
WHERE = ["--project=p", "--zone=z"]


def test_xpk_makes_one_workload(tools):
    code, (call,) = tools("xpk.sh", {"xpk": "exit 0"}, **CLOUD, CLUSTER="c", IMAGE="i")
    assert code == 0
    assert call[:3] == ["xpk", "workload", "create"]
    assert {*WHERE, "--cluster=c", "--docker-image=i", f"--restart-on-exit-codes={PREEMPTED}"} <= set(call)
    command = next(word for word in call if word.startswith("--command=")).removeprefix("--command=")
    assert shlex.split(command) == ["python", "main.py", "--distributed=auto", *ARGUMENTS]


GCLOUD = """
state={dir}/state
case "$*" in
  *describe*) cat "$state" 2>/dev/null || exit 1 ;;
  *create*) echo ACTIVE > "$state" ;;
  *delete*) rm "$state" ;;
  *ssh*) exit {code} ;;
esac
"""
TPU = {**CLOUD, "RUNTIME": "r", "BUCKET": "b"}


@pytest.mark.parametrize(
    ("state", "expected"),
    [(None, ["create"]), ("ACTIVE", []), ("SUSPENDED", ["delete", "create"]), ("FAILED", ["delete", "create"])],
)
def test_tpu_vm_asks_for_a_slice_only_if_it_has_none(tools, tmp_path, state, expected):
    if state:
        (tmp_path / "state").write_text(state)
    code, calls = tools("tpu_vm.sh", {"gcloud": GCLOUD.format(dir=tmp_path, code=PREEMPTED)}, **TPU, SPOT="1")
    assert code == PREEMPTED  # gcloud returns what main.py did
    queued = [call for call in calls if "queued-resources" in call and "describe" not in call]
    assert [call[call.index("--quiet") + 1] for call in queued] == expected
    for call in queued:
        if "create" in call:
            wanted = {*WHERE, "--node-id=spin", "--spot", "--accelerator-type=v5litepod-16", "--runtime-version=r"}
            assert wanted <= set(call)
    assert all({*WHERE, "--worker=all"} <= set(call) for call in calls if "tpu-vm" in call)
    assert [word for call in calls if "tpu-vm" in call for word in call if word in ("scp", "ssh")] == ["scp", "ssh"]


def test_tpu_vm_runs_main_on_the_workers_with_every_argument_whole(tools, tmp_path):
    (tmp_path / "state").write_text("ACTIVE")
    code, calls = tools("tpu_vm.sh", {"gcloud": GCLOUD.format(dir=tmp_path, code=0)}, **TPU)
    assert code == 0
    remote = next(word for word in calls[-1] if word.startswith("--command=")).removeprefix("--command=")
    subprocess.run(["bash", "-n"], input=remote, text=True, check=True)
    assert "gcsfuse --metadata-cache-ttl-secs=0 b /bucket" in remote
    last = shlex.split(remote.splitlines()[-1])
    assert last[1:] == ["exec", ".venv/bin/python", "main.py", "--distributed=auto", *ARGUMENTS]


@pytest.mark.parametrize("script", ["tpu_vm.sh", "xpk.sh"])
@pytest.mark.parametrize("missing", ["PROJECT", "ZONE", "NAME", "ACCELERATOR"])
def test_a_missing_variable_is_named(script, missing):
    everything = {**TPU, "CLUSTER": "c", "IMAGE": "i", "PATH": os.environ["PATH"]}
    del everything[missing]
    done = subprocess.run(["bash", LAUNCH / script, "--"], env=everything, capture_output=True, text=True)
    assert done.returncode != 0
    assert missing in done.stderr


def test_the_image_holds_what_its_programs_import(tmp_path):
    copied = [line.split()[1:-1] for line in read("Dockerfile").splitlines() if line.startswith("COPY")]
    for name in sum(copied, []):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    modules = ["main", *(f"launch.{path.stem}" for path in LAUNCH.glob("*.py"))]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", f"import {', '.join(modules)}"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
