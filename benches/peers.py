#!/usr/bin/env python3
"""Measures Thingway beside other brokers and a reference relay, in alternating runs, and prints the table of docs/performance.md.

Needs the load generator `mqload` (its `refserver` is the relay). Peers that are not installed are left out.

    cargo build --release
    MQLOAD=path/to/mqload benches/peers.py [--rounds 5] [--seconds 3] [--only fan-out,idle]

The figure is messages delivered per CPU-second of the broker, as a share of the relay's in the same round; the median of all rounds is told.
"""
import argparse, json, os, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

SCENARIOS = {
    "fan-out 1 to 1,000, QoS 0": "pubsub --mode fan-out -n 1000 --qos 0 --window 32",
    "fan-in 500 to 1, QoS 0": "pubsub --mode fan-in -n 500 --qos 0 --window 32",
    "fan-in 500 to 1, QoS 1": "pubsub --mode fan-in -n 500 --qos 1 --window 32",
    "pairs 500, QoS 0": "pubsub --mode pairs -n 500 --qos 0 --window 32",
    "pairs 500, QoS 1": "pubsub --mode pairs -n 500 --qos 1 --window 32",
    "pairs 500, QoS 2": "pubsub --mode pairs -n 500 --qos 2 --window 32",
    "pairs 100, 16 KiB, QoS 0": "pubsub --mode pairs -n 100 --qos 0 --window 8 --payload 16384",
    "lone messages, pairs 500, QoS 0": "pubsub --mode pairs -n 500 --qos 0 --window 1",
    "lone messages, pairs 500, QoS 1": "pubsub --mode pairs -n 500 --qos 1 --window 1",
    "20,000 msg/s, pairs 500, QoS 1": "pubsub --mode pairs -n 500 --qos 1 --rate 20000",
    "connect storm": "connect-storm --src-addrs 32 --concurrency 64",
}
MOSQUITTO = """listener {port} 127.0.0.1
allow_anonymous true
max_queued_messages 0
max_inflight_messages 0
persistence false
"""
THINGWAY = """[listeners.tcp.default]
bind = "127.0.0.1:{port}"
[listeners.tls.default]
enable = false
[listeners.ws.default]
enable = false
[listeners.wss.default]
enable = false
[listeners.quic.default]
enable = false
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
    def __init__(self, name, command, config=None):
        self.name, self.port = name, free_port()
        self.folder = tempfile.mkdtemp()
        path = os.path.join(self.folder, "broker.conf" if name != "rumqttd" else "broker.toml")
        if config:
            with open(path, "w") as file:
                file.write(config.format(port=self.port))
        command = [part.format(port=self.port, config=path) for part in command]
        self.log = open(os.path.join(self.folder, "log"), "wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=self.folder)
        for _ in range(200):
            if self.process.poll() is not None:
                sys.exit(f"{name} ended; see {self.log.name}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        sys.exit(f"{name} does not listen; see {self.log.name}")

    def run(self, mqload, scenario, seconds):
        words = scenario.split() + ["--duration", str(seconds)]
        return mqload_json(mqload, words, self)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        shutil.rmtree(self.folder)


def mqload_json(mqload, words, broker):
    words = [mqload, *words, "--port", str(broker.port), "--pid", str(broker.process.pid), "--json"]
    output = subprocess.run(words, capture_output=True, text=True, timeout=120).stdout
    return json.loads(output.strip().splitlines()[-1])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def brokers(arguments):
    yield Broker("relay", [arguments.mqload, "refserver", "--port", "{port}", "--lifetime", "3600"])
    yield Broker("thingway", [arguments.thingway, "--config", "{config}"], THINGWAY)
    if arguments.one_core:
        yield Broker("thingway-1", [arguments.thingway, "--config", "{config}", "--set", "gateway.cores=1"], THINGWAY)
    if path := shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto"):
        yield Broker("mosquitto", [path, "-c", "{config}"], MOSQUITTO)
    if path := shutil.which("rumqttd") or shutil.which(os.path.expanduser("~/.cargo/bin/rumqttd")):
        yield Broker("rumqttd", [path, "-c", "{config}", "-q"], RUMQTTD)


def figure(result):
    return result.get("msgs_per_broker_cpu_s") or result.get("cycles_per_broker_cpu_s") or 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mqload", default=os.environ.get("MQLOAD", "mqload"))
    parser.add_argument("--thingway", default=os.path.join(os.path.dirname(__file__), "../target/release/thingway"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--one-core", action="store_true", help="also Thingway with one core")
    arguments = parser.parse_args()
    arguments.mqload, arguments.thingway = map(os.path.abspath, (arguments.mqload, arguments.thingway))
    wanted = [name for name in SCENARIOS if any(part in name for part in arguments.only.split(","))]
    running = list(brokers(arguments))
    names = [broker.name for broker in running]
    print("| scenario | relay, per CPU-second | " + " | ".join(names[1:]) + " |")
    print("| --- | ---: |" + " ---: |" * (len(names) - 1))
    notes = []
    for scenario in wanted:
        rounds = []
        for _ in range(arguments.rounds):
            rounds.append({broker.name: broker.run(arguments.mqload, SCENARIOS[scenario], arguments.seconds) for broker in running})
        relay = statistics.median(figure(r["relay"]) for r in rounds)
        cells = []
        for name in names[1:]:
            share = statistics.median(figure(r[name]) / max(figure(r["relay"]), 1) for r in rounds)
            lost = sum(r[name].get("lost", 0) + r[name].get("failed", 0) for r in rounds)
            late = statistics.median(r[name].get("p99_us", 0) / max(r["relay"].get("p99_us", 0), 1) for r in rounds)
            cell = f"{share:.0%}" + (f", p99 {late:.1f}x" if "msg/s" in scenario else "")
            cells.append(cell + (f", lost {lost}" if lost else ""))
        print(f"| {scenario} | {relay:,.0f} | " + " | ".join(cells) + " |", flush=True)
    for broker in running:
        broker.stop()
    if "idle" in arguments.only or not arguments.only:
        idle(arguments)


def idle(arguments):
    """The slope of resident memory between two numbers of connections, each in a process of its own."""
    words = "idle --src-addrs 8 --hold 2 --subscribe --conns".split()
    resident, names = {}, []
    for count in (4000, 18500):
        for broker in brokers(arguments):
            resident[broker.name, count] = mqload_json(arguments.mqload, [*words, str(count)], broker)["rss_after"]
            names += [broker.name] if broker.name not in names else []
            broker.stop()
    slopes = [f"{(resident[name, 18500] - resident[name, 4000]) / 14500:,.0f}" for name in names]
    print(f"| idle, one subscription, bytes each | {slopes[0]} | " + " | ".join(slopes[1:]) + " |")


if __name__ == "__main__":
    main()
