"""Work that blocks, for callers with an event loop: one thread, one thing at a time, and a way to end it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class OffLoop:
    """Runs functions in a thread of its own, in the order in which they were asked for.

    Args:
        stop: ends the function that runs now, from another thread; called when its caller is cancelled.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="agentkit")

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`; the loop goes on meanwhile.

        A caller that is cancelled gets its `CancelledError` after the work has ended, so that nothing goes on
        unseen; work that had not begun is not begun.
        """
        begun = self._thread.submit(work)
        answer = asyncio.wrap_future(begun)
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            if not begun.cancel() and not begun.done():
                self._stop()
                await asyncio.wait([answer])
            if not answer.cancelled() and answer.done():
                answer.exception()  # looked at, so that nobody warns that it was not
            raise

    def close(self) -> None:
        """End the thread after what it runs."""
        self._thread.shutdown()
