"""A model's words as they come, from any chat model: pieces of a stream, or the whole answer where none is streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from uuid import UUID


class Words(BaseCallbackHandler):
    """Hands on every piece of text; a stream that breaks off ends in a line break, because the whole comes again.

    It is a callback and no stream of the graph: so a model is asked on the thread that calls `send`, where Ctrl-C
    ends the waiting at once.
    """

    run_inline = True

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._streamed: set[UUID] = set()

    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
        """Makes LangChain ask for a stream where a model can give one."""
        return output

    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """As `tap_output_iter`."""
        return output

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        """One piece of a stream."""
        text = str(chunk.message.text) if chunk is not None and hasattr(chunk, "message") else str(token)
        if text:
            self._streamed.add(run_id)
            self._on_text(text)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """The whole answer."""
        if run_id in self._streamed:
            self._streamed.discard(run_id)
            return
        text = str(response.generations[0][0].message.text)
        if text:
            self._on_text(text)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A stream that broke off."""
        if run_id in self._streamed:
            self._streamed.discard(run_id)
            self._on_text("\n")
