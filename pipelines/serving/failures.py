"""What goes wrong becomes `{"error": {"code", "message"}}`: readable, and without a trace of the machine's inside."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from data.errors import DataError
from pipelines.errors import ServingRefused
from pipelines.serving.schemas import Failure, Problem

CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
SHOWN = 5  # mistakes told at once


class Refusal(Exception):
    """An answer that is no success. The message goes to whoever asked: no path, no address of ours."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def answer_failures(app: FastAPI) -> None:
    """Give every failure of `app` its shape."""

    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> JSONResponse:
        return failure(error.status, error.code, str(error))

    @app.exception_handler(DataError)
    async def wrong_data(_: Request, error: DataError) -> JSONResponse:
        return failure(422, "invalid_request", str(error))

    @app.exception_handler(ServingRefused)
    async def private(_: Request, error: ServingRefused) -> JSONResponse:
        return failure(422, "raw_input_refused", str(error))

    @app.exception_handler(RequestValidationError)
    async def wrong_shape(_: Request, error: RequestValidationError) -> JSONResponse:
        return failure(422, "invalid_request", in_words(error.errors()))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return failure(error.status_code, CODES.get(error.status_code, "http_error"), error.detail, error.headers)

    @app.exception_handler(Exception)  # starlette logs the traceback and answers with this
    async def bug(_: Request, __: Exception) -> JSONResponse:
        return failure(500, "internal_error", "this is a fault of the server; its log says more")


def failure(status: int, code: str, message: str, headers: Any = None) -> JSONResponse:
    body = Failure(error=Problem(code=code, message=message))
    return JSONResponse(body.model_dump(), status_code=status, headers=headers)


def in_words(mistakes: Sequence[dict[str, Any]]) -> str:
    """`observations.3.y: input should be a valid number; horizon: ...`."""
    lines = [_line(mistake) for mistake in mistakes[:SHOWN]]
    rest = len(mistakes) - SHOWN
    return "; ".join(lines + ([f"and {rest} more"] if rest > 0 else []))


def _line(mistake: dict[str, Any]) -> str:
    if mistake["type"] == "json_invalid":
        return f"the body is no valid JSON: {mistake['ctx']['error']} at character {mistake['loc'][-1]}"
    key = ".".join(str(part) for part in mistake["loc"][1:]) or "body"
    if mistake["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    return f"{key}: {mistake['msg'][0].lower()}{mistake['msg'][1:]}"
