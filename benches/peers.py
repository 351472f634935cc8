#!/usr/bin/env python3
"""Measures Thingway beside a reference relay and the brokers that are installed, in alternating runs, and prints the table of docs/performance.md.

    cargo build --release
    benches/peers.py                          # everything
    benches/peers.py --only fan,idle          # the rows whose names have one of these in them
    benches/peers.py --mqload path/to/mqload  # is the load generator honest: each scenario by another generator, too

The figure is messages delivered per CPU-second of the broker, as a share of the relay's in the same round: the median of all rounds, and the lowest and
highest in brackets. Peers: Mosquitto (Debian: `apt install mosquitto`) and rumqttd (`cargo install rumqttd --version 0.20.0`); what is not there is left out.
All results are written to target/bench/, one line of JSON a run.
"""
import argparse, dataclasses, json, os, platform, resource, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MANY_SOURCES = "--source 127.0.0.2-127.0.0.33"
# A process may have 20,000 descriptors on many machines.
IDLE_SIZES = (4000, 18500)


@dataclasses.dataclass
class Scenario:
    """A row: what the generator is asked for, the goal for Thingway (a share of the relay, in percent), and the same for mqload."""
    name: str
    words: str
    goal: int
    mqload: str
    late_max: float = None  # p99 in terms of the relay's


SCENARIOS = [
    Scenario("fan-out 1 to 1,000, QoS 0", "pairs --subscribers 1000 -q 0", 65, "pubsub --mode fan-out -n 1000 --qos 0"),
    Scenario("fan-in 500 to 1, QoS 0", "pairs --publishers 500 -q 0", 50, "pubsub --mode fan-in -n 500 --qos 0"),
    Scenario("fan-in 500 to 1, QoS 1", "pairs --publishers 500 -q 1", 45, "pubsub --mode fan-in -n 500 --qos 1"),
    Scenario("pairs 500, QoS 0", "pairs --groups 500 -q 0", 55, "pubsub --mode pairs -n 500 --qos 0"),
    Scenario("pairs 500, QoS 1", "pairs --groups 500 -q 1", 55, "pubsub --mode pairs -n 500 --qos 1"),
    Scenario("pairs 500, QoS 2", "pairs --groups 500 -q 2", 50, "pubsub --mode pairs -n 500 --qos 2"),
    Scenario("pairs 100, 16 KiB, QoS 0", "pairs --groups 100 -q 0 --window 8 --size 16384", 80,
             "pubsub --mode pairs -n 100 --qos 0 --window 8 --payload 16384"),
    Scenario("lone messages, pairs 500, QoS 0", "pairs --groups 500 -q 0 --window 1", 85,
             "pubsub --mode pairs -n 500 --qos 0 --window 1"),
    Scenario("lone messages, pairs 500, QoS 1", "pairs --groups 500 -q 1 --window 1", 85,
             "pubsub --mode pairs -n 500 --qos 1 --window 1"),
    Scenario("20,000 msg/s, pairs 500, QoS 1", "pairs --groups 500 -q 1 --rate 20000", 90,
             "pubsub --mode pairs -n 500 --qos 1 --rate 20000", late_max=2.0),
    Scenario("connect storm", f"conn --storm --concurrency 64 {MANY_SOURCES}", 95, "connect-storm --concurrency 64 --src-addrs 32"),
]
# Bytes a connection; QUIC has no goal.
IDLE = {"TCP": ("mqtt", 900), "TLS": ("mqtts", 4500), "WebSocket": ("ws", 1100), "QUIC": ("quic", None)}

MOSQUITTO = """listener {port} 127.0.0.1
allow_anonymous true
max_queued_messages 0
max_inflight_messages 0
persistence false
"""
THINGWAY = """[gateway]
cores = {cores}
[dashboard]
enable = false
[listeners.tcp.default]
bind = "127.0.0.1:{port}"
[listeners.tls.default]
bind = "127.0.0.1:{mqtts}"
[listeners.ws.default]
bind = "127.0.0.1:{ws}"
[listeners.wss.default]
enable = false
[listeners.quic.default]
bind = "127.0.0.1:{quic}"
[listeners.udp.mqttsn]
enable = false
[listeners.udp.coap]
enable = false
"""
RUMQTTD = """id = 0
[router]
id = 0
max_connections = 19000
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[v4.1]
name = "v4-1"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 0
[v4.1.connections]
connection_timeout_ms = 60000
max_payload_size = 20480
max_inflight_count = 500
dynamic_filters = true
"""


class Broker:
    """A broker in a process and a folder of its own."""

    def __init__(self, name, command, config="", **settings):
        self.name = name
        self.ports = dict(zip(("port", "mqtts", "ws", "quic"), free_ports(4)))
        self.ports["mqtt"] = self.ports["port"]
        self.folder = tempfile.mkdtemp(prefix="thingway-bench-")
        path = os.path.join(self.folder, "broker.toml" if name == "rumqttd" else "broker.conf")
        with open(path, "w") as file:
            file.write(config.format(**self.ports, **settings))
        command = [part.format(**self.ports, config=path) for part in command]
        self.log = open(os.path.join(self.folder, "log"), "wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=self.folder)
        for _ in range(200):
            if self.process.poll() is not None:
                sys.exit(f"{name} ended; see {self.log.name}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.ports["port"])) == 0:
                    return
            time.sleep(0.05)
        sys.exit(f"{name} does not listen; see {self.log.name}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder)


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.thingway = os.path.abspath(arguments.thingway)
        folder = os.path.join(ROOT, "target", "bench")
        os.makedirs(folder, exist_ok=True)
        self.record = open(os.path.join(folder, time.strftime("%Y-%m-%dT%H%M%S.jsonl")), "w")

    def start(self, name, more=""):
        """Starts a broker; `more` is configuration for Thingway alone."""
        if name == "relay":
            return Broker(name, [self.thingway, "bench", "relay", "--port", "{port}", "--lifetime", "12h"])
        if name == "refserver":
            return Broker(name, [self.arguments.mqload, "refserver", "--port", "{port}", "--lifetime", "43200"])
        if name == "mosquitto":
            return Broker(name, [mosquitto(), "-c", "{config}"], MOSQUITTO)
        if name == "rumqttd":
            return Broker(name, [rumqttd(), "-c", "{config}", "-q"], RUMQTTD)
        return Broker(name, [self.thingway, "--config", "{config}"], THINGWAY + more, cores=1 if name.endswith("1") else 2)

    def begin(self, words, broker, scheme="mqtt", seconds=None):
        """Starts the generator. Words about TLS are understood wherever they are not needed."""
        words = [self.thingway, "bench", *words.split(), "--url", f"{scheme}://127.0.0.1:{broker.ports[scheme]}", "-V", "3.1.1"]
        words += ["--duration", f"{int(1000 * (seconds or self.arguments.seconds))}ms", "--pid", str(broker.process.pid), "--json"]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self, generator, broker, what):
        try:
            out, err = generator.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            generator.kill()
            out, err = generator.communicate()[0], "it does not end"
        result = json.loads(out.strip().splitlines()[-1]) if out.strip() else {"error": err.strip()}
        print(json.dumps({"what": what, "broker": broker.name, **result}), file=self.record, flush=True)
        return result

    def run(self, words, broker, what, **how):
        result = self.finish(self.begin(words, broker, **how), broker, what)
        if "error" in result:
            # Other work on the machine can make a gateway turn clients away; who fails twice has failed.
            result = self.finish(self.begin(words, broker, **how), broker, what)
        return result

    def run_mqload(self, words, broker, what):
        words = [self.arguments.mqload, *words.split(), "--duration", str(self.arguments.seconds)]
        words += ["--port", str(broker.ports["port"]), "--pid", str(broker.process.pid), "--json"]
        generator = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return self.finish(generator, broker, what + " by mqload")

    def names(self):
        names = ["relay", "thingway", "thingway-1"]
        names += ["mosquitto"] if mosquitto() else []
        names += ["rumqttd"] if rumqttd() else []
        return [name for name in names if not self.arguments.brokers or name in self.arguments.brokers.split(",") or name == "relay"]

    def is_wanted(self, name):
        return any(part in name for part in self.arguments.only.split(","))

    def table(self):
        """Throughput of every broker as a share of the relay's."""
        wanted = [scenario for scenario in SCENARIOS if self.is_wanted(scenario.name)]
        if not wanted:
            return
        brokers = [self.start(name) for name in self.names()]
        others = [broker.name for broker in brokers[1:]]
        print("| scenario | relay, per CPU-second | " + " | ".join(map(title, others)) + " | goal | |")
        print("| --- | ---: |" + " ---: |" * len(others) + " ---: | --- |", flush=True)
        for scenario in wanted:
            rounds = []
            for number in range(self.arguments.rounds):
                # Whoever comes first has the machine as it was left: each has his turn.
                turn = number % len(brokers)
                order = brokers[turn:] + brokers[:turn]
                rounds.append({broker.name: self.run(scenario.words, broker, scenario.name) for broker in order})
            relay = statistics.median(figure(one["relay"]) for one in rounds)
            cells = [cell(scenario, rounds, name) for name in others]
            print(f"| {scenario.name} | {relay:,.0f} | " + " | ".join(cells) + f" | {goal(scenario)} | {verdict(scenario, rounds)} |", flush=True)
        for broker in brokers:
            broker.stop()

    def idle(self):
        """Bytes a connection: the slope of resident memory between two numbers of connections, each in a process of its own."""
        sizes = [min(size, descriptors() - 500) for size in IDLE_SIZES]
        print("\n| idle, one subscription, bytes a connection | relay | " + " | ".join(map(title, self.names()[1:])) + " | goal | |")
        print("| --- |" + " ---: |" * (len(self.names()) + 1) + " --- |", flush=True)
        for transport, (scheme, aim) in IDLE.items():
            if not self.is_wanted(f"idle {transport}"):
                continue
            cells, mine = [], None
            for name in self.names():
                if scheme != "mqtt" and not name.startswith("thingway"):
                    cells.append("")
                    continue
                rounds = [self.slope(name, scheme, sizes, f"idle {transport}") for _ in range(self.arguments.idle_rounds)]
                rounds = [slope for slope in rounds if slope is not None]
                cells.append(f"{statistics.median(rounds):,.0f} ({min(rounds):,.0f}..{max(rounds):,.0f})" if rounds else "failed")
                if name == "thingway" and rounds:
                    mine = statistics.median(rounds)
            told = "" if aim is None or mine is None else told_difference(aim - mine, f"{abs(aim - mine):,.0f} bytes")
            print(f"| {transport}, {sizes[0]:,} to {sizes[1]:,} | " + " | ".join(cells) + f" | {aim or ''} | {told} |", flush=True)

    def slope(self, name, scheme, sizes, what):
        resident = []
        for count in sizes:
            # What a connection takes is not told by turning connections away, as a gateway does that has no processor for handshakes.
            broker = self.start(name, "[overload]\nenable = false\n")
            words = f"conn --subscribe --clients {count} --connect-timeout 2m --source 127.0.0.2-127.0.0.9"
            # A handshake takes a millisecond or two of each end.
            words += " --insecure --connect-rate 300" if scheme in ("mqtts", "quic") else ""
            result = self.run(words, broker, f"{what} {count}", scheme=scheme, seconds=2)
            broker.stop()
            if result.get("ready", 0) < 0.9 * count or result["broken"] > 0:
                return None
            resident.append((result["ready"], result["rss_after_bytes"]))
        (few, few_bytes), (many, many_bytes) = resident
        return (many_bytes - few_bytes) / (many - few)

    def fairness(self):
        """What a flood of one pair, and a subscriber that never reads, cost the others."""
        if not self.is_wanted("fairness"):
            return
        quiet = "pairs --groups 100 -q 1 --rate 100"
        flood = "pairs --groups 1 -q 0 --window 1000 --warmup 0s"
        busy = "pairs --groups 100 -q 1"
        brokers = [self.start(name) for name in self.names()]
        rows = {name: [] for name in ("alone", "flooded", "flood", "busy", "muted", "peak")}
        for _ in range(self.arguments.rounds):
            one = {name: {} for name in rows}
            for broker in brokers:
                one["alone"][broker.name] = self.run(quiet, broker, "fairness quiet").get("p99_us", 0)
                flooding = self.begin(flood, broker, seconds=self.arguments.seconds + 3)
                one["flooded"][broker.name] = self.run(quiet, broker, "fairness quiet beside a flood").get("p99_us", 0)
                one["flood"][broker.name] = self.finish(flooding, broker, "fairness flood").get("received_per_sec", 0)
                one["busy"][broker.name] = figure(self.run(busy, broker, "fairness pairs"))
                muted = self.run(busy + " --mute 1", broker, "fairness pairs beside a mute subscriber")
                one["muted"][broker.name], one["peak"][broker.name] = figure(muted), muted.get("rss_peak_bytes", 0)
            for name in rows:
                rows[name].append(one[name])
        print("\n| fairness | " + " | ".join(title(broker.name) for broker in brokers) + " |")
        print("| --- |" + " ---: |" * len(brokers))
        def row(name, of):
            print(f"| {name} | " + " | ".join(of(broker.name) for broker in brokers) + " |", flush=True)
        def median(which, name):
            return statistics.median(one[name] for one in rows[which])
        row("p99 of 100 quiet pairs, 100 msg/s, QoS 1, us", lambda name: f"{median('alone', name):,.0f}")
        row("the same while one pair floods, us", lambda name: f"{median('flooded', name):,.0f}")
        row("messages a second of the flood", lambda name: f"{median('flood', name):,.0f}")
        row("100 pairs, QoS 1, per CPU-second", lambda name: f"{median('busy', name):,.0f}")
        row("the same beside a subscriber to all that never reads", lambda name: f"{median('muted', name) / max(median('busy', name), 1):.0%}")
        row("resident memory then, at most, MiB", lambda name: f"{median('peak', name) / 2**20:,.0f}")
        for broker in brokers:
            broker.stop()

    def honesty(self):
        """Each scenario by this generator and by mqload, in turns, on the same brokers, and on both relays."""
        brokers = [self.start(name) for name in ("relay", "refserver", "thingway")]
        print("| scenario | broker | per CPU-second by mqload | by `thingway bench` | ratio | generator's CPU, us a message: mqload | `thingway bench` |")
        print("| --- | --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
        for scenario in SCENARIOS:
            if not self.is_wanted(scenario.name):
                continue
            rounds = {broker.name: [] for broker in brokers}
            for number in range(self.arguments.rounds):
                for broker in brokers:
                    # The scenarios are worded alike but for the defaults of mqload.
                    mine = lambda: self.run(scenario.words, broker, scenario.name)
                    theirs = lambda: self.run_mqload(scenario.mqload, broker, scenario.name)
                    one = (mine(), theirs()) if number % 2 else tuple(reversed((theirs(), mine())))
                    if figure(one[0]) and figure(one[1]):
                        rounds[broker.name].append(one)
            for broker in brokers:
                pairs = rounds[broker.name]
                if not pairs:
                    print(f"| {scenario.name} | {title(broker.name)} | failed | | | | |", flush=True)
                    continue
                ratios = [figure(mine) / max(figure(theirs), 1) for mine, theirs in pairs]
                lost = sum(losses(mine) for mine, _ in pairs)
                print(f"| {scenario.name} | {title(broker.name)} | {statistics.median(figure(theirs) for _, theirs in pairs):,.0f} | "
                      f"{statistics.median(figure(mine) for mine, _ in pairs):,.0f} | "
                      f"{statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f}) | "
                      f"{statistics.median(effort(theirs) for _, theirs in pairs):.2f} | {statistics.median(effort(mine) for mine, _ in pairs):.2f} |"
                      + (f" lost {lost}" if lost else ""), flush=True)
        for broker in brokers:
            broker.stop()


def mosquitto():
    return shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")


def rumqttd():
    return shutil.which("rumqttd") or shutil.which(os.path.expanduser("~/.cargo/bin/rumqttd"))


def title(name):
    return {"relay": "relay", "refserver": "mqload's relay", "thingway": "Thingway", "thingway-1": "Thingway, one core", "mosquitto": "Mosquitto"}.get(name, name)


def figure(result):
    """Messages or cycles per CPU-second of the broker."""
    return result.get("per_server_cpu_sec") or result.get("msgs_per_broker_cpu_s") or result.get("cycles_per_broker_cpu_s") or 0.0


def effort(result):
    """CPU microseconds of the generator for a message or cycle."""
    done = (result.get("received_per_sec") or result.get("cycles_per_sec") or result.get("recv_per_s") or result.get("cycles_per_s") or 0)
    return 1e6 * (result.get("generator_cpu_util") or result.get("gen_cpu_util") or 0) / max(done, 1)


def losses(result):
    return result.get("lost", 0) + result.get("failed", 0) + result.get("broken", 0)


def shares(rounds, name):
    return [figure(one[name]) / max(figure(one["relay"]), 1) for one in rounds]


def lateness(rounds, name):
    return statistics.median(one[name].get("p99_us", 0) / max(one["relay"].get("p99_us", 0), 1) for one in rounds)


def cell(scenario, rounds, name):
    share, lost = shares(rounds, name), sum(losses(one[name]) for one in rounds)
    if not any(share):
        return "failed"
    text = f"{statistics.median(share):.0%} ({min(share):.0%}..{max(share):.0%})"
    text += f", p99 {lateness(rounds, name):.1f} times" if scenario.late_max else ""
    return text + (f", lost {lost}" if lost else "")


def goal(scenario):
    return f"{scenario.goal}%" + (f", p99 {scenario.late_max:.0f} times" if scenario.late_max else "")


def told_difference(over, amount):
    return f"met, by {amount}" if over >= 0 else f"**missed** by {amount}"


def verdict(scenario, rounds):
    if "thingway" not in rounds[0]:
        return ""
    over = 100 * statistics.median(shares(rounds, "thingway")) - scenario.goal
    text = told_difference(over, f"{abs(over):.0f} points")
    if scenario.late_max and lateness(rounds, "thingway") > scenario.late_max:
        text += ", **too late**"
    if sum(losses(one["thingway"]) for one in rounds):
        text += ", **lost some**"
    return text


def free_ports(count):
    """Ports that are free for TCP, all at once so that they differ."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


def version(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
        return (done.stdout + done.stderr).strip().splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return "unknown"


def machine():
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    return f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({model}), Linux {platform.release()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thingway", default=os.path.join(ROOT, "target/release/thingway"), help="the program (target/release/thingway)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each broker in a scenario (5)")
    parser.add_argument("--idle-rounds", type=int, default=3, help="the same for idle connections (3)")
    parser.add_argument("--seconds", type=float, default=3, help="measured in each run (3)")
    parser.add_argument("--only", default="", help="parts of names of rows: fan, pairs, lone, msg/s, storm, idle, fairness")
    parser.add_argument("--brokers", default="", help="names of brokers beside the relay: thingway, thingway-1, mosquitto, rumqttd")
    parser.add_argument("--mqload", help="compare this generator with mqload instead")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    if not os.path.exists(bench.thingway):
        sys.exit(f"{bench.thingway} is not there: cargo build --release")
    print(machine())
    print(version(bench.thingway, "version"), end="")
    for name, path, option in (("", mosquitto(), "-h"), ("", rumqttd(), "--version")):
        print(f"; {version(path, option)}" if path else "", end="")
    print(f"; {arguments.rounds} rounds of {arguments.seconds:g} s\n")
    if arguments.mqload:
        return bench.honesty()
    bench.table()
    if any(bench.is_wanted(f"idle {transport}") for transport in IDLE):
        bench.idle()
    bench.fairness()


if __name__ == "__main__":
    main()
