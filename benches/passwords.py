#!/usr/bin/env python3
"""What a storm of logins costs those who are connected: 100,000 users with Argon2id, 100 pairs that exchange messages, and clients that come and go as
fast as their passwords are tried.

    cargo build --release
    benches/passwords.py [--users 100000] [--rounds 5] [--thingway target/release/thingway]

Prints the latency of the pairs alone and beside the storm, median of the rounds, and the logins a second.
"""
import argparse, json, os, signal, socket, statistics, subprocess, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONFIG = """[gateway]
data_dir = "{folder}/data"
[dashboard]
enable = false
[listeners.tcp.default]
bind = "127.0.0.1:{port}"
[listeners.tcp.live]
bind = "127.0.0.1:{live}"
authenticate = false
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
[access]
authenticators = ["users"]
[access.users]
file = "{folder}/users.csv"
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thingway", default=os.path.join(ROOT, "target/release/thingway"))
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=2000, help="messages a second of all pairs (2000)")
    arguments = parser.parse_args()
    thingway = os.path.abspath(arguments.thingway)
    with tempfile.TemporaryDirectory(prefix="thingway-passwords-") as folder:
        # One hash is as good as another to try a password against.
        store = [thingway, "--data-dir", f"{folder}/other"]
        subprocess.run([*store, "users", "add", "one"], input=b"secret\n", check=True, stdout=subprocess.DEVNULL)
        exported = subprocess.run([*store, "users", "export"], check=True, capture_output=True, text=True).stdout
        hashed = next(part for part in exported.replace('"', " ").split() if part.startswith("$argon2id$"))
        with open(f"{folder}/users.csv", "w") as file:
            file.write("user_id,password_hash,is_superuser\n")
            file.writelines(f'u{number},"{hashed}",false\n' for number in range(arguments.users))
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            port, live = one.getsockname()[1], other.getsockname()[1]
        with open(f"{folder}/thingway.toml", "w") as file:
            file.write(CONFIG.format(folder=folder, port=port, live=live))
        begun = time.monotonic()
        log = open(f"{folder}/log", "wb")
        gateway = subprocess.Popen([thingway, "--config", f"{folder}/thingway.toml"], stdout=log, stderr=log)
        try:
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                if gateway.poll() is not None:
                    raise SystemExit(open(f"{folder}/log").read())
                time.sleep(0.05)
            print(f"{arguments.users:,} users, started in {time.monotonic() - begun:.1f} s")
            measure(arguments, [thingway, "bench"], f"mqtt://127.0.0.1:{live}", f"mqtt://u1:secret@127.0.0.1:{port}")
        finally:
            gateway.send_signal(signal.SIGTERM)
            gateway.wait(20)


def measure(arguments, bench, live, guarded):
    pairs = [*bench, "pairs", "--groups", "100", "-q", "1", "--rate", str(arguments.rate), "--duration", "5s", "--url", live, "--json"]
    # It begins before the pairs connect and ends after they have finished.
    storm = [*bench, "conn", "--storm", "--concurrency", "64", "--duration", "12s", "--source", "127.0.0.2-127.0.0.33", "--url", guarded, "--json"]
    rows = {"alone": [], "beside the storm": []}
    logins = []
    for _ in range(arguments.rounds):
        rows["alone"].append(run(pairs))
        flood = subprocess.Popen(storm, stdout=subprocess.PIPE, text=True)
        rows["beside the storm"].append(run(pairs))
        logins.append(json.loads(flood.communicate()[0].splitlines()[-1]))
    print(f"| 100 pairs, {arguments.rate:,} msg/s, QoS 1 | p50, us | p99, us | lost |\n| --- | ---: | ---: | ---: |")
    for name, results in rows.items():
        median = lambda field: statistics.median(result.get(field, 0) for result in results)
        print(f"| {name} | {median('p50_us'):,.0f} | {median('p99_us'):,.0f} | {sum(result.get('lost', 0) for result in results)} |")
    ratio = statistics.median(storm["p99_us"] / max(alone["p99_us"], 1) for alone, storm in zip(rows["alone"], rows["beside the storm"]))
    print(f"p99 beside the storm: {ratio:.1f} times; logins: {statistics.median(one.get('cycles_per_sec', 0) for one in logins):,.0f} a second, "
          f"{sum(one.get('failed', 0) for one in logins)} refused")


def run(words):
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
