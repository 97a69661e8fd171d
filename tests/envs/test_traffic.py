"""Traffic signals: what is read from a network file, what SUMO is told, and what it answers."""

import os
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree

import numpy as np
import pytest

from spin_jax.envs import traffic, traffic_network
from spin_jax.envs.tasks import TASKS
from spin_jax.envs.traffic import TrafficEnv, view, yellow
from spin_jax.envs.vector import VectorEnv, play_episodes
from spin_jax.errors import SimulatorError
from spin_jax.types import ActionSpec

# Signal 7 stands where road `in` (2 lanes) meets `left`, `on` and `side`. Lane in_0 has two movements, in_1 and side_0
# one each; both in_0 and side_0 lead to on_0. Signal 8 has one green phase only, so it chooses nothing.
NET = """<net>
<edge id="in" from="a" to="7"><lane id="in_0" shape="0,0 10,0"/><lane id="in_1" shape="0,2 10,2"/></edge>
<edge id="left" from="7" to="b"><lane id="left_0" shape="10,2 10,9"/></edge>
<edge id="on" from="7" to="c"><lane id="on_0" shape="10,0 20,0"/></edge>
<edge id="side" from="b" to="7"><lane id="side_0" shape="12,9 12,0"/></edge>
<edge id=":7_0" function="internal"><lane id=":7_0_0" shape="10,0 11,0"/></edge>
<tlLogic id="8"><phase state="GG"/><phase state="yy"/></tlLogic>
<tlLogic id="7"><phase state="GGgr"/><phase state="yyyr"/><phase state="rrrG"/><phase state="rrry"/></tlLogic>
<junction id="7" type="traffic_light" x="10" y="1"/><junction id="8" type="traffic_light" x="30" y="1"/>
<junction id="a" type="dead_end" x="0" y="1"/><junction id="b" type="dead_end" x="10" y="9"/>
<junction id="c" type="dead_end" x="20" y="0"/>
<connection from="in" to="on" fromLane="0" toLane="0" tl="7" linkIndex="0"/>
<connection from="in" to="left" fromLane="0" toLane="0" tl="7" linkIndex="1"/>
<connection from="in" to="left" fromLane="1" toLane="0" tl="7" linkIndex="2"/>
<connection from="side" to="on" fromLane="0" toLane="0" tl="7" linkIndex="3"/>
<connection from=":7_0" to="on" fromLane="0" toLane="0"/>
</net>"""


def test_phases_let_lanes_go_in_the_shares_of_their_movements(tmp_path):
    """Oracle: counted by hand in the drawing above."""
    (tmp_path / "net.xml").write_text(NET)
    network = traffic_network.read_network(tmp_path / "net.xml", tmp_path / "demand.xml")
    assert network.signals == (traffic_network.Signal("7", (10.0, 1.0), ("GGgr", "rrrG")),)
    assert network.lanes == ("in_0", "in_1", "left_0", "on_0", "side_0")
    np.testing.assert_array_equal(network.shapes[1], [[0, 2], [10, 2]])
    np.testing.assert_array_equal(network.waiting, [[1, 1, 0, 0, 0], [0, 0, 0, 0, 1]])
    np.testing.assert_array_equal(network.ahead, [[0, 0, 1, 0.5, 0], [0, 0, 0, 0.5, 0]])


def test_every_dead_end_sends_its_share_to_the_others(tmp_path):
    """Oracle: ENTERING vehicles a second from each of the two ends that a road leaves, none back to where it came."""
    flows = list(ElementTree.fromstring(traffic_network.demand(ElementTree.fromstring(NET), 1800)))
    assert [flow.get("id") for flow in flows] == ["intoleft", "intoon", "sidetoon"]
    shares = [float(flow.get("probability")) for flow in flows]
    np.testing.assert_allclose([shares[0] + shares[1], shares[2]], traffic_network.ENTERING, atol=2e-5)
    assert {flow.get("end") for flow in flows} == {"1800"}


def test_only_movements_that_lose_their_green_get_yellow():
    assert yellow("GgGrr", "GrrGr") == "Gyyrr"
    assert yellow("Gr", "gG") == "Gr"


def test_view_sorts_an_observation_by_signal():
    found = view(np.arange(17, dtype=np.float32)[None], ActionSpec((3, 2)))
    np.testing.assert_array_equal(found.waiting[0], [[0, 1, 2], [3, 4, -np.inf]])
    np.testing.assert_array_equal(found.ahead[0], [[5, 6, 7], [8, 9, -np.inf]])
    np.testing.assert_array_equal(found.phase[0], [[10, 11, 12], [13, 14, 0]])
    np.testing.assert_array_equal(found.age[0], [15, 16])


def test_missing_sumo_is_one_error_with_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "sumo", None)
    with pytest.raises(SimulatorError, match=r"Task traffic needs the simulator SUMO.*pip install -e '\.\[traffic\]'"):
        TrafficEnv("traffic", 3)
    assert not list(tmp_path.rglob("*.xml"))


class TestWithSumo:
    """What needs the simulator: extra `traffic`."""

    @pytest.fixture(scope="class", autouse=True)
    def _sumo(self):
        for name in ("sumo", "traci"):
            pytest.importorskip(name, reason="SUMO is not installed (extra traffic)")

    @pytest.fixture(scope="class", autouse=True)
    def _cache(self, tmp_path_factory):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
            yield

    @pytest.fixture(scope="class")
    def env(self, _sumo, _cache):
        return TrafficEnv("traffic", 3)

    def test_the_generated_network_has_the_slots_of_the_task(self, env):
        task = TASKS["traffic"]
        assert tuple(len(signal.phases) for signal in env.network.signals) == task.slots == env.spec.cardinalities
        observation = env.reset(0)
        assert (observation.shape, observation.dtype) == ((task.num_features,), np.float32)
        assert (min(task.slots), max(task.slots)) == (2, 6)

    def test_another_version_of_sumo_is_refused(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr(traffic_network, "DIGEST", "0" * 16)
        with pytest.raises(SimulatorError, match="generates another network.*not 0000000000000000"):
            traffic_network.load_network()
        assert not list(tmp_path.rglob("net.xml"))

    def test_a_sumo_that_does_not_start_is_told(self, tmp_path):
        with pytest.raises(SimulatorError, match="SUMO does not start.*nowhere.xml"):
            traffic.start_sumo(["--net-file", str(tmp_path / "nowhere.xml")])

    def test_an_episode_follows_from_its_seed_in_any_process(self, env):
        """Played again in the same SUMO, after another episode, and in worker processes, one of them killed."""

        def act(observation, step):
            return (np.arange(9)[None] + step) % np.array(env.spec.cardinalities)[None].repeat(len(observation), 0)

        def roll(seed, steps):
            rows = [env.reset(seed)]
            for t in range(steps):
                observation, reward, *_ = env.step(act(rows[0][None], t)[0])
                rows += [np.append(observation, np.float32(reward))]
            return np.concatenate(rows)

        first, other = roll(3, 30), roll(4, 30)
        np.testing.assert_array_equal(roll(3, 30), first)
        assert not np.array_equal(first, other)
        with VectorEnv("traffic", 3, 2, 2, TrafficEnv) as envs:

            def murderous(observation, step):
                if step == 20:
                    process = envs._groups[1]._process
                    os.kill(process.pid, signal.SIGKILL)
                    process.join()
                return act(observation, step)

            episodes = play_episodes(envs, murderous, [3, 4])
        for episode, rows in zip(episodes, (first, other), strict=True):
            assert (len(episode.reward), episode.terminal) == (180, False)
            found = np.concatenate([episode.observation[1:31], episode.reward[:30, None]], axis=1)
            np.testing.assert_array_equal(np.concatenate([episode.observation[0], found.ravel()]), rows)

    def test_reward_and_observation_count_the_standing_vehicles(self, env):
        """Oracle: every vehicle asked for its speed and its lane, and the phases' own letters."""
        env.reset(0)
        rng, sumo, shown = np.random.default_rng(0), env._connection, np.zeros(9, int)
        age = np.zeros(9)
        for _ in range(60):
            action = np.where(rng.random(9) < 0.05, rng.integers(0, env.spec.cardinalities), shown)
            age = np.where(action != shown, 0, age) + 10
            observation, reward, *_ = env.step(action)
            shown = action
        halting = [sumo.vehicle.getLaneID(v) for v in sumo.vehicle.getIDList() if sumo.vehicle.getSpeed(v) < 0.1]
        halting = [lane for lane in halting if lane[0] != ":"]
        vehicles = 180 * 10 * traffic_network.demand_rate(env.network)
        outside = len(sumo.simulation.getPendingVehicles())
        assert len(halting) > 20
        assert outside > 0
        count = len(halting) + outside
        np.testing.assert_allclose(reward, -10 * count / vehicles, rtol=1e-6)
        parts = view(observation[None], env.spec)
        np.testing.assert_array_equal(parts.phase[0].argmax(-1), action)
        np.testing.assert_allclose(parts.age[0], np.minimum(age / 120, 1), rtol=1e-6)
        for i, light in enumerate(env.network.signals):
            assert sumo.trafficlight.getRedYellowGreenState(light.junction) == light.phases[action[i]]
            links = [link[0] for link in sumo.trafficlight.getControlledLinks(light.junction)]
            for k, phase in enumerate(light.phases):
                for part, end in ((parts.waiting, 0), (parts.ahead, 1)):
                    ends = [link[end] for link in links]
                    going = [lane for lane, letter in zip(ends, phase, strict=True) if letter in "Gg"]
                    expected = sum(halting.count(lane) / ends.count(lane) for lane in going) / 20
                    np.testing.assert_allclose(part[0, i, k], expected, rtol=1e-5)

    def test_sumo_ends_with_its_environment_also_where_a_worker_is_killed(self):
        env = TrafficEnv("traffic", 3)
        process = env._process
        assert process.poll() is None
        del env
        assert process.poll() is not None
        with VectorEnv("traffic", 3, 1, 1, TrafficEnv) as envs:
            envs.reset([0])
            worker = envs._groups[0]._process
            children = subprocess.run(["ps", "--ppid", str(worker.pid), "-o", "pid="], capture_output=True, text=True)
            sumo = int(children.stdout.split()[-1])
            os.kill(worker.pid, signal.SIGKILL)
            worker.join()
            deadline = time.monotonic() + 10
            while subprocess.run(["ps", "-p", str(sumo), "-o", "stat="], capture_output=True).stdout[:1] not in b"Z":
                assert time.monotonic() < deadline, "SUMO outlived its worker"
                time.sleep(0.05)

    def test_a_picture_shows_where_vehicles_stand(self, env):
        env.reset(0)
        empty = env.render(120, 160)
        assert (empty.shape, empty.dtype) == ((120, 160, 3), np.uint8)
        env.standing = np.where(np.arange(len(env.network.lanes)) < 20, 12, 0)
        red = (env.render(120, 160).astype(int) - empty)[..., :] < -60
        assert red[..., 2].sum() > 20  # the darkest colour of the scale has hardly any blue, an empty road has
