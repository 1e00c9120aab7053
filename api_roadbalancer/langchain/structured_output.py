"""How answers are made to follow a schema: what endpoints are asked, and how the answer is read."""

from collections.abc import Mapping
from typing import Any, Literal

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import Runnable, RunnableLambda, RunnableMap, RunnablePassthrough
from pydantic import BaseModel

__all__ = ["StructuredOutputMethod", "parsed", "parser_for", "response_format"]

StructuredOutputMethod = Literal["function_calling", "json_schema", "json_mode"]


def response_format(method: StructuredOutputMethod, function: Mapping[str, Any]) -> dict[str, Any]:
    """Return the wire's `response_format` for a schema, given as a function's. Raises ValueError for an unknown method."""
    if method == "json_mode":
        return {"type": "json_object"}
    if method != "json_schema":
        raise ValueError(f"method: must be function_calling, json_schema or json_mode (got {method!r})")
    schema = {"name": function["name"], "schema": function["parameters"]}
    schema |= {name: function[name] for name in ("description", "strict") if name in function}
    return {"type": "json_schema", "json_schema": schema}


def parser_for(schema: dict[str, Any] | type, method: StructuredOutputMethod, name: str) -> Runnable[Any, Any]:
    """Return what reads an answer: an object of the schema's class if that is pydantic's, else a mapping."""
    model = schema if isinstance(schema, type) and issubclass(schema, BaseModel) else None
    if method == "function_calling":
        if model:
            return PydanticToolsParser(tools=[model], first_tool_only=True)
        return JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
    return PydanticOutputParser(pydantic_object=model) if model else JsonOutputParser()


def parsed(model: Runnable[LanguageModelInput, AIMessage], parser: Runnable[Any, Any]) -> Runnable[LanguageModelInput, Any]:
    """Return answers as `raw`, `parsed` and `parsing_error`."""
    read = RunnableLambda(lambda answer: answer["raw"]) | parser
    read_well = RunnablePassthrough.assign(parsed=read, parsing_error=lambda _: None)
    read_badly = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=model) | read_well.with_fallbacks([read_badly], exception_key="parsing_error")
