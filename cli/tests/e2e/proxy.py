"""HAProxy with configs/haproxy.cfg, in front of the gateways and dispatchers of a test."""

import re
import subprocess

import server

SAMPLE = server.ROOT / "configs/haproxy.cfg"


class Proxy:
    """`gateways`: two pairs of address and admin address; `dispatchers`: two addresses. `clients` and `rest` are the ports that it listens on."""

    def __init__(self, folder, gateways, dispatchers, clients, rest):
        text = SAMPLE.read_text(encoding="utf-8")
        for n, (address, admin) in enumerate(gateways, 1):
            check = admin.rpartition(":")[2]
            text = text.replace(f"10.0.0.1{n}:7400 check port 7402", f"{address} check port {check}").replace(f"10.0.0.1{n}:7400\n", f"{address}\n")
        for n, address in enumerate(dispatchers, 1):
            text = text.replace(f"10.0.0.2{n}:7410", address)
        # Descriptors of a test are fewer than those of a host.
        text = text.replace("bind :7400", f"bind 127.0.0.1:{clients}").replace("bind :7410", f"bind 127.0.0.1:{rest}").replace("maxconn 200000", "maxconn 1000")
        left = re.findall(r"^[^#\n]*10\.0\.0\..*$", text, re.MULTILINE)
        if left:
            raise server.Failed(f"{SAMPLE}: these addresses are not the test's: {left}")
        path = f"{folder}/haproxy.cfg"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self.log = open(f"{folder}/haproxy.log", "wb")
        self.child = subprocess.Popen(["haproxy", "-db", "-f", path], stdout=self.log, stderr=self.log)

    def stop(self):
        self.child.terminate()
        self.child.wait(20)
        self.log.close()
