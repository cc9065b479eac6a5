"""Another model where the planner's own fails for good, and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import ModelFallbackMiddleware

from agentkit.errors import AgentkitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain.agents.middleware.types import ModelRequest, ModelResponse


class _Ended(BaseException):
    """Passes what no other model can mend by a layer that catches every `Exception`."""

    def __init__(self, error: AgentkitError) -> None:
        super().__init__(str(error))
        self.error = error


class ModelFallback(ModelFallbackMiddleware[Any, Any]):
    """Asks the next model when a provider fails; a spent budget or a loop ends the session at once."""

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Ask the planner's own model, then each fallback.

        Raises:
            BudgetError, LoopError: as they came; nobody else is asked.
        """

        def asked(once_more: ModelRequest[Any]) -> ModelResponse[Any]:
            try:
                return handler(once_more)
            except AgentkitError as error:
                raise _Ended(error) from error

        try:
            answer: Any = super().wrap_model_call(request, asked)
        except _Ended as ended:
            raise ended.error from ended.error.__cause__
        return answer  # type: ignore[no-any-return]
