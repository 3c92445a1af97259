"""Part of a file over HTTP into memory of ours: `receive_range`, Hugging Face's client alone, and obstore.

    python benchmarks/range_request.py [--mib 64] [--rounds 15] [--json PATH]

obstore is measured where it is installed (`pip install obstore`). A server in a process of its own sends ranges of a
file that is in the page cache; the sides take turns. obstore gives memory of its own, which a shard's rows would have
to be copied out of; that copy is part of its time, as the bytes have to lie where the shard's other parts are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from provenance import made_with

SERVER = """
import http.server, os, re, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_GET(self):
        with open(sys.argv[1], "rb") as file:
            start, stop = map(int, re.fullmatch(r"bytes=(\\d+)-(\\d+)", self.headers["Range"]).groups())
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop}/{os.fstat(file.fileno()).st_size}")
            self.send_header("Content-Length", str(stop + 1 - start))
            self.send_header("ETag", '"one"')
            self.end_headers()
            self.wfile.flush()
            while start <= stop:
                sent = os.sendfile(self.connection.fileno(), file.fileno(), start, stop + 1 - start)
                if not sent:
                    break
                start += sent
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer): daemon_threads = True
server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""

Receive = Callable[[str, int, NDArray[np.uint8]], None]


def own(url: str, start: int, out: NDArray[np.uint8]) -> None:
    from dynamic_sparsity.loaders.hub.range_request import receive_range

    assert sum(receive_range(url, {}, start, out)) == out.size


def client(url: str, start: int, out: NDArray[np.uint8]) -> None:
    from huggingface_hub.utils import http_stream_backoff

    done = 0
    with http_stream_backoff("GET", url, headers={"Range": f"bytes={start}-{start + out.size - 1}"}) as response:
        for chunk in response.iter_raw():
            out.data[done : done + len(chunk)] = chunk
            done += len(chunk)
    assert done == out.size


def with_obstore(url: str, start: int, out: NDArray[np.uint8]) -> None:
    from obstore.store import HTTPStore

    base, _, name = url.rpartition("/")
    store = HTTPStore.from_url(base, client_options={"allow_http": True})
    out[:] = np.frombuffer(store.get_range(name, start=start, length=out.size), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=64, help="of one range")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sides: dict[str, Receive] = {"receive_range": own, "huggingface_hub": client}
    packages = ["huggingface_hub", "numpy"]
    try:
        import obstore  # noqa: F401

        sides["obstore"] = with_obstore
        packages.append("obstore")
    except ImportError:
        print("obstore is not installed, and not measured")
    content = np.random.default_rng(0).integers(0, 256, arguments.mib * 2**20 + 1000, np.uint8)
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        content.tofile(file.name)
        with subprocess.Popen([sys.executable, "-c", SERVER, file.name], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}/file.bin"
            seconds: dict[str, list[float]] = {name: [] for name in sides}
            for turn in range(arguments.rounds + 1):
                for name, receive in sides.items():
                    out = np.zeros(arguments.mib * 2**20, np.uint8)
                    began = time.perf_counter()
                    receive(url, 500, out)
                    if turn:  # the first round opens connections and imports
                        seconds[name].append(time.perf_counter() - began)
                    assert np.array_equal(out, content[500 : 500 + out.size])
            server.kill()
    rates = {name: round(arguments.mib / median(values)) for name, values in seconds.items()}
    ratios = {name: round(median(np.divide(values, seconds["receive_range"])), 2) for name, values in seconds.items()}
    record = {
        "what": "one range of a file over HTTP on this machine into memory of ours; medians of interleaved rounds",
        "mib": arguments.mib,
        "rounds": arguments.rounds,
        "mib_per_s": rates,
        "time_over_receive_range": ratios,
        **made_with(*packages),
    }
    print(json.dumps(record, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
