"""A loopback server that speaks the shape of Anthropic's messages API: scripted, recorded, or a planner behind the wire.

It needs the standard library only, listens on 127.0.0.1 alone and checks no key, so the real client and SDK
can be driven with no network: `with AnthropicServer([Reply("hello")]) as server: ChatAnthropic(base_url=server.url, …)`.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self

from agentkit.testing.replies import Fault, Reply, count_tokens, events_of, message_of

Request = dict[str, Any]
Answer = Reply | Fault
Script = Callable[[Request], Answer] | Sequence[Answer]
"""What to answer: one item a request, in order, or a function of the request."""


class AnthropicServer:
    """Serves a script on 127.0.0.1 until the `with` block ends.

    Args:
        script: answers in order (a request past the last gets status 400), or a function of the request.

    Attributes:
        url: what to give a client as its base URL.
        requests: bodies of all message requests, in order of arrival.
        messages: the answers that were sent whole, as JSON messages with their usage.
    """

    def __init__(self, script: Script) -> None:
        self.requests: list[Request] = []
        self.messages: list[dict[str, Any]] = []
        self._script = script
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = _Loopback(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """Base URL, without `/v1`."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.shutdown()
        self._http.end_connections()
        self._http.server_close()
        self._thread.join()

    def answer(self, request: Request) -> Answer:
        """The next answer of the script; what the script itself raises becomes status 400 with its words."""
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
            try:
                if callable(self._script):
                    return self._script(request)
                if number >= len(self._script):
                    return Fault(400, message=f"the script ends after {len(self._script)} answers")
                return self._script[number]
            except Exception as error:  # noqa: BLE001 - a script is the user's code; its fault must reach the client
                return Fault(400, message=f"{type(error).__name__}: {error}")


class _Loopback(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""

    def end_connections(self) -> None:
        """Clients keep connections open; end them, so that no thread stays behind."""
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    owner: ClassVar[AnthropicServer]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        """Messages and token counts."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            request = json.loads(body)
        except ValueError:
            self._send_json(400, Fault(400, message="the body is not JSON").wire())
            return
        path = self.path.partition("?")[0]
        if path == "/v1/messages/count_tokens":
            self._send_json(200, {"input_tokens": count_tokens(request)})
        elif path == "/v1/messages":
            self._message(request)
        else:
            self._send_json(404, Fault(404, message=f"no such path {path}").wire())

    def _message(self, request: Request) -> None:
        answer = self.owner.answer(request)
        if isinstance(answer, Fault):
            wait = answer.retry_after_s
            self._send_json(
                answer.status, answer.wire(), {} if wait is None else {"retry-after": f"{wait:g}"}
            )
            return
        time.sleep(answer.delay_s)
        message = message_of(answer, request)
        stream = bool(request.get("stream"))
        whole = b"".join(events_of(message)) if stream else json.dumps(message).encode()
        if answer.broken:
            whole = whole.replace(b'"', b"'")
        elif not answer.cut:
            self.owner.messages.append(message)
        kind = "text/event-stream" if stream else "application/json"
        self._send(200, whole, kind, cut=answer.cut)

    def _send_json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(value).encode(), "application/json", headers)

    def _send(
        self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None, *, cut: bool = False
    ) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.wfile.flush()
        if cut:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: nothing of a conversation is printed."""
