"""Part of a file on the Hub, received into memory: never more than was requested, whatever the server sends.

Why not the HTTP client alone, or obstore: for 64 MiB on one machine, the client takes 4 times as long as this, and
obstore, whose memory has to be copied to where the shard's other parts lie, 3 times (`benchmarks/range_request.py`).
The client still does all that is before the bytes: the address, redirects, TLS, tokens and busy answers.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import HubError

__all__ = ["receive_range"]

RANGE_TIMEOUT_S: Final = 60
DIRECT_BYTES_MIN: Final = 2**20
"""What is left of an answer from which on it is read without the HTTP client: a new connection costs less."""

PARTIAL_CONTENT: Final = 206
RANGE_NOT_SATISFIABLE: Final = 416
WAITS_FOR_ALL: Final = hasattr(socket, "MSG_WAITALL") and os.name == "posix"

Bytes = NDArray[np.uint8]


def receive_range(url: str, headers: dict[str, str], start: int, out: Bytes) -> Iterator[int]:
    """Put bytes of a file into `out` as they come, maybe not all that it has room for; yield how many came.

    Args:
        url: Where the file is.
        headers: Of the request.
        start: First byte.
        out: Where to put them, shape (n,).

    Raises:
        HubError: The answer is another part of the file.
        Exception: Those of the HTTP client.
    """
    from huggingface_hub.utils import hf_raise_for_status, http_stream_backoff

    headers = headers | {"Range": f"bytes={start}-{start + out.size - 1}"}
    # Nothing is tried again in here but busy answers: only the caller knows from where on.
    with http_stream_backoff("GET", url, headers=headers, timeout=RANGE_TIMEOUT_S, retry_on_exceptions=()) as response:
        if response.status_code == RANGE_NOT_SATISFIABLE:
            return  # of a file that was cut off: nothing came, as at the end of one that is cut off further on
        hf_raise_for_status(response)
        place = response.headers.get("Content-Range", "")
        if response.status_code == PARTIAL_CONTENT and not place.startswith(f"bytes {start}-"):
            raise HubError(f"{url}: requested bytes from {start}, the Hub answered with {place[:100]!a}")
        # A server may ignore the range and send all of the file.
        done, skip = 0, 0 if response.status_code == PARTIAL_CONTENT else start
        for chunk in response.iter_raw():
            if done == out.size:
                return  # only where more came: a connection is used again if its answer was read to the end
            wanted = chunk[skip : skip + out.size - done]
            skip = max(0, skip - len(chunk))
            out.data[done : done + len(wanted)] = wanted
            done += len(wanted)
            yield len(wanted)
            connection = _bare_connection(response, out.size) if out.size - done >= DIRECT_BYTES_MIN else None
            if connection is not None:
                while done < out.size:
                    size = _receive_all(connection, out[done:])
                    if size == 0:
                        raise ConnectionError("the connection was closed in the middle of a file")
                    done += size
                    yield size
                return


def _bare_connection(response: Any, size: int) -> socket.socket | None:
    """Return the connection on which the rest of a long answer comes, as plain bytes; None if it can't be read as such.

    The HTTP client hands out 64 KiB at a time through a dozen generators, and all of that holds Python's lock. Read
    this way, a shard comes several times as fast, and what uses the rows runs meanwhile. The client closes the
    connection afterwards, as it does not know that its answer was read.
    """
    answer, stream = response.headers, response.extensions.get("network_stream")
    coded = "Transfer-Encoding" in answer or "Content-Encoding" in answer
    if stream is None or coded or response.http_version != "HTTP/1.1" or response.status_code != PARTIAL_CONTENT:
        return None
    connection = stream.get_extra_info("socket")
    encrypted = stream.get_extra_info("ssl_object") is not None
    if answer.get("Content-Length") != str(size) or not isinstance(connection, socket.socket):
        return None
    return connection if not encrypted or isinstance(connection, ssl.SSLSocket) else None


def _receive_all(connection: socket.socket, out: Bytes) -> int:
    """Receive as many bytes as `out` has room for, fewer only if that is all; returns how many.

    One call waits for all of them without Python's lock: at each new request for it, the thread that has it may keep
    it for milliseconds.
    """
    if isinstance(connection, ssl.SSLSocket) or not WAITS_FOR_ALL:
        return connection.recv_into(out.data)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", RANGE_TIMEOUT_S, 0))
    connection.settimeout(None)
    try:
        return connection.recv_into(out.data, 0, socket.MSG_WAITALL)
    except BlockingIOError as error:
        raise TimeoutError(f"nothing came in {RANGE_TIMEOUT_S} seconds") from error
