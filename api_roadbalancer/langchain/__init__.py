"""A LangChain chat model over the load balancer: `ChatRoadbalancer`. Needs the extra `langchain`."""

try:
    import langchain_core  # noqa: F401
except ModuleNotFoundError as exc:
    raise ImportError(
        "ChatRoadbalancer needs langchain-core, which is not installed: pip install 'roadbalancer[langchain]'", name=exc.name
    ) from exc

from api_roadbalancer.langchain.chat_model import ChatRoadbalancer, ChatRoadbalancerError

__all__ = ["ChatRoadbalancer", "ChatRoadbalancerError"]
