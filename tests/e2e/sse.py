"""
sse.py: a client of event streams (SSE) that leaves every byte to the test.

    with Stream(shop.port, "/api/v1/events/stream", token=token, last=0) as stream:
        for event in stream.take(3):
            print(event.id, event.name, event.json)

Parser follows the WHATWG standard's rules for what a browser dispatches, and keeps what a browser would drop
(comments, retry, unknown fields, records without data), so that tests can see it. A Stream reads only when it
is asked to: one that is never asked is a client that never reads. Python's standard library only.
"""
import json
import re
import socket
import struct
import time
from urllib.parse import quote

from harness import Reply, slack


class Event:
    """What a browser would hand to a page. own_id: the record's id field, None if it had none."""

    def __init__(self, name, data, own_id, last_id):
        self.name, self.data, self.own_id, self.last_id = name, data, own_id, last_id

    @property
    def id(self):
        """The seq; only for events that carry one."""
        assert self.own_id is not None and re.fullmatch("0|[1-9][0-9]*", self.own_id), f"no id in {self!r}"
        return int(self.own_id)

    @property
    def json(self):
        return json.loads(self.data)

    def __repr__(self):
        return f"<{self.own_id} {self.name} {self.data[:200]}>"


class Parser:
    """Bytes in, in pieces of any size; events out."""

    def __init__(self):
        self.line, self.after_cr = [], False
        self.name, self.data, self.own_id = "", [], None
        self.last_id = None
        self.comments = []      # (text, when)
        self.retries = []       # milliseconds
        self.strange = []       # lines that no reader of ours would understand
        self.undispatched = []  # (id, name) of named records without data: a browser drops these

    def feed(self, piece):
        events = []
        if not piece:
            return events
        if self.after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
        self.after_cr = piece.endswith(b"\r")
        lines = re.split(b"\r\n|\n|\r", piece)
        self.line.append(lines[0])  # a line may come in many pieces
        if len(lines) > 1:
            lines[0], self.line = b"".join(self.line), [lines[-1]]
        lines.pop()
        for line in lines:
            event = self._take(line.decode("utf-8"))
            if event:
                events.append(event)
        return events

    def _take(self, line):
        if line == "":
            return self._dispatch()
        if line.startswith(":"):
            self.comments.append((line[1:].removeprefix(" "), time.monotonic()))
            return None
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self.name = value
        elif field == "data":
            self.data.append(value)
        elif field == "id" and "\0" not in value:
            self.own_id = value
        elif field == "retry" and value.isdigit():
            self.retries.append(int(value))
        else:
            self.strange.append(line)
        return None

    def _dispatch(self):
        if self.own_id is not None:
            self.last_id = self.own_id
        event = None
        if self.data:
            event = Event(self.name or "message", "\n".join(self.data), self.own_id, self.last_id)
        elif self.name:
            self.undispatched.append((self.own_id, self.name))
        self.name, self.data, self.own_id = "", [], None
        return event


class Stream:
    """
    One GET of an event stream. The reply's head is read at once; .reply holds it, with the body where it
    is not a stream. last: Last-Event-ID, last_by: "header" or "query"; token_by: "header", "cookie", "query".
    segment: in bytes; 1448 is that of an Ethernet, loopback's own are 64 KiB.
    """

    def __init__(self, port, path, token=None, last=None, last_by="header", token_by="header", fields=None,
                 method="GET", receive_buffer=None, segment=None, source=None, timeout_s=10.0):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if segment:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
        if source:
            self.socket.bind((source, 0))
        self.socket.settimeout(timeout_s * slack())
        self.socket.connect(("127.0.0.1", port))
        self.parser, self.waiting, self.ended, self.why_ended = Parser(), [], False, None
        self.raw, self.coded, self.chunked = bytearray(), b"", False
        head = {"Host": f"127.0.0.1:{port}", "Accept": "text/event-stream"}
        query = []
        if token and token_by == "query":
            query.append("token=" + token)
        elif token and token_by == "cookie":
            head["Cookie"] = "flashd_token=" + token
        elif token:
            head["Authorization"] = "Bearer " + token
        if last is not None and last_by == "query":
            query.append("lastEventId=" + quote(str(last), safe=""))
        elif last is not None:
            head["Last-Event-ID"] = str(last)
        head.update(fields or {})
        if query:
            path += ("&" if "?" in path else "?") + "&".join(query)
        request = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in head.items()) + "\r\n"
        self.socket.sendall(request.encode("utf-8"))
        self._read_head(method)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()
        self.ended = True

    def vanish(self):
        """Ends with a reset instead of a FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    # --- bytes

    def _read_head(self, method):
        while b"\r\n\r\n" not in self.coded:
            piece = self.socket.recv(65536)
            if not piece:
                raise ConnectionError("closed before a whole head; had " + repr(self.coded[:200]))
            self.coded += piece
        head, self.coded = self.coded.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        match = re.match(r"^(HTTP/1\.[01]) (\d{3}) (.*)$", lines[0])
        assert match, f"no status line: {lines[0]!r}"
        pairs = [line.split(":", 1) for line in lines[1:]]
        self.reply = Reply(int(match[2]), match[3], [(k.lower(), v.strip()) for k, v in pairs], b"", match[1])
        kind = (self.reply.header("content-type") or "").split(";")[0].strip()
        self.chunked = (self.reply.header("transfer-encoding") or "").lower() == "chunked"
        self.is_stream = self.reply.status == 200 and kind == "text/event-stream"
        if self.is_stream:
            assert self.reply.header("content-length") is None or method == "HEAD", lines
            if method != "HEAD":
                self._decode()
        else:
            length = int(self.reply.header("content-length") or 0)
            while len(self.coded) < length and method != "HEAD":
                piece = self.socket.recv(65536)
                assert piece, "closed within a body"
                self.coded += piece
            self.reply.body = self.coded[:length]

    def _decode(self):
        """Takes what has come out of the transfer coding, into the parser."""
        if not self.chunked:
            piece, self.coded = self.coded, b""
            self._parse(piece)
            return
        while True:
            match = re.match(rb"([0-9a-fA-F]+)\r\n", self.coded)
            if not match:
                assert len(self.coded) < 20, f"no chunk: {self.coded[:40]!r}"
                return
            size = int(match[1], 16)
            if len(self.coded) < match.end() + size + 2:
                return
            piece = self.coded[match.end():match.end() + size]
            assert self.coded[match.end() + size:match.end() + size + 2] == b"\r\n", "a chunk without an end"
            self.coded = self.coded[match.end() + size + 2:]
            if size == 0:
                self.why_ended, self.ended = "end", True
                return
            self._parse(piece)

    def _parse(self, piece):
        if len(self.raw) < 1 << 20:
            self.raw += piece
        self.waiting.extend(self.parser.feed(piece))

    def pump(self, within_s, most=65536):
        """Reads once, waiting at most so long; whether anything came. Raises nothing at the end."""
        if self.ended:
            return False
        self.socket.settimeout(max(within_s, 0.0001))
        try:
            piece = self.socket.recv(most)
        except (socket.timeout, BlockingIOError):
            return False
        except ConnectionError as error:
            self.ended, self.why_ended = True, repr(error)
            return False
        if not piece:
            self.ended, self.why_ended = True, self.why_ended or "end"
            return False
        self.coded += piece
        self._decode()
        return True

    # --- events

    def next(self, within_s=3.0):
        return self.take(1, within_s)[0]

    def take(self, count, within_s=3.0):
        """Exactly so many events; more stay for later."""
        end = time.monotonic() + within_s * slack()
        while len(self.waiting) < count:
            left = end - time.monotonic()
            if left <= 0 or self.ended:
                raise AssertionError(f"{len(self.waiting)} of {count} events within {within_s * slack():g} s, "
                                     f"ended: {self.why_ended}; the last: {self.waiting[-5:]}")
            self.pump(left)
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return taken

    def until(self, wanted, within_s=3.0):
        """All events up to the first that is wanted, with it."""
        end, taken = time.monotonic() + within_s * slack(), []
        while True:
            while self.waiting:
                taken.append(self.waiting.pop(0))
                if wanted(taken[-1]):
                    return taken
            left = end - time.monotonic()
            if left <= 0 or self.ended:
                raise AssertionError(f"the wanted event was not among {len(taken)} within {within_s * slack():g}"
                                     f" s, ended: {self.why_ended}; the last: {taken[-5:]}")
            self.pump(left)

    def until_named(self, name, within_s=3.0):
        return self.until(lambda event: event.name == name, within_s)

    def rest(self, quiet_s=0.3):
        """Everything that still comes until nothing has come for so long."""
        while self.pump(quiet_s * slack()):
            pass
        taken, self.waiting = self.waiting, []
        return taken

    def ends(self, within_s=3.0):
        """Whether the server ends it; what came before stays to be taken."""
        end = time.monotonic() + within_s * slack()
        while not self.ended and time.monotonic() < end:
            self.pump(end - time.monotonic())
        return self.ended

    def tidy(self):
        """Nothing came that a browser would not understand or would throw away."""
        assert not self.parser.strange, self.parser.strange
        assert not self.parser.undispatched, f"records without data: {self.parser.undispatched}"
