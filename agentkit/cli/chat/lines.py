"""Events as JSON lines on stdout, for programs: `{"seq": 3, "type": "run", …}`."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any


class JsonLines:
    """One object a line, numbered from 1."""

    def __init__(self) -> None:
        self._seq = 0
        self._lock = threading.Lock()

    def tell(self, type: str, **data: Any) -> None:
        """Print one event."""
        with self._lock:
            self._seq += 1
            line = {"seq": self._seq, "type": type, **data}
            print(json.dumps(line, ensure_ascii=False, default=str), file=sys.stdout, flush=True)

    def show(self, text: str, data: Any) -> None:
        """The answer to a slash command."""
        self.tell("text", text=text, data=data)
