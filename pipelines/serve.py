"""Forecasts over HTTP from the champions of the registry.

POST /v1/forecasts   a forecast from the newest stored data, from fresh observations, or from both
GET  /v1/models      every registered version
GET  /healthz        the process is alive
GET  /readyz         the registry answers and a champion is loaded
GET  /openapi.json   the description of all this; there is no page for it, since its scripts would come from a CDN

The stored data is the newest version of the data set, as `flockcast forecast` has it, and not the version that the
model was trained on; the answer says which one was read. Without an account or a token: listen where only friends are.
"""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import polars as pl
import torch
import uvicorn
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request, Response

from pipelines.predict import quantile_name
from pipelines.privacy.access import Access, log_access
from pipelines.privacy.serving import Mark, mark_of
from pipelines.serving.body_limit import BodyLimit
from pipelines.serving.champions import Champion, Champions, all_versions
from pipelines.serving.failures import Refusal, answer_failures
from pipelines.serving.schemas import (
    Failure,
    ForecastAnswer,
    ForecastRequest,
    ForecastRow,
    ModelList,
    ModelVersion,
    PrivacyMark,
    Readiness,
)

FAILURES: dict[int | str, dict[str, Any]] = {status: {"model": Failure} for status in (400, 404, 413, 422, 503)}


def serve(
    host: str = "127.0.0.1", port: int = 8000, *, data_sets: Sequence[str] = (), recheck_seconds: float = 30
) -> None:
    """Listen until SIGINT or SIGTERM; requests under way are answered first. Ready without `data_sets` means any."""
    app = create_app(data_sets=data_sets, recheck_seconds=recheck_seconds)
    uvicorn.run(app, host=host, port=port, timeout_graceful_shutdown=20)


def create_app(
    *,
    data_sets: Sequence[str] = (),
    recheck_seconds: float = 30,
    workers: int = os.cpu_count() or 1,
    most_bytes: int = 10_000_000,
) -> FastAPI:
    """The application. At most `workers` forecasts are computed at once, on threads of their own; others wait."""
    app = FastAPI(title="flockcast", version=version("flockcast"), docs_url=None, redoc_url=None, lifespan=_lifespan)
    app.add_middleware(BodyLimit, most=most_bytes)
    answer_failures(app)
    champions = Champions(recheck_seconds=recheck_seconds)
    limiter = CapacityLimiter(workers)

    @app.post("/v1/forecasts", responses={200: {"model": ForecastAnswer}, **FAILURES})
    async def forecasts(request: ForecastRequest, http: Request) -> Response:
        who = http.client.host if http.client else "unknown"
        champion = await to_thread.run_sync(champions.get, request.data_set)
        body = await to_thread.run_sync(lambda: answer(champion, request, who).model_dump_json(), limiter=limiter)
        return Response(body, media_type="application/json")

    @app.get("/v1/models", responses={503: {"model": Failure}})
    async def models() -> ModelList:
        return await to_thread.run_sync(list_models)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", responses={503: {"model": Failure}})
    async def readyz() -> Readiness:
        return await to_thread.run_sync(readiness, champions.get, data_sets)

    return app


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    torch.set_num_threads(1)  # forecasts are small and come side by side
    yield


def answer(champion: Champion, request: ForecastRequest, who: str) -> ForecastAnswer:
    """What `who` gets, an address. Raises DataError for what the model can't do, ServingRefused for what a private one
    may not, Refusal where there is nothing to forecast from."""
    predictor = champion.predictor
    mark = mark_of(
        predictor.protection,
        stored=champion.stored,
        sent=request.observations is not None,
        raw_input=request.raw_input,
        name=champion.name,
        is_internal=predictor.config.is_internal,
    )
    if champion.history is None and request.observations is None:
        raise Refusal(422, "observations_needed", f"no data of {champion.name} is stored here; send observations")
    values, observed, cutoff = predictor.window(
        history=champion.history, fresh=request.fresh(predictor.config.variables)
    )
    frame = predictor.forecast_window(
        values,
        observed,
        cutoff,
        edges=predictor.edges(cutoff, history=champion.history, flows=champion.flows),
        horizon=request.horizon,
        nodes=request.nodes,
        quantiles=request.quantiles,
    )
    if mark is not None and not mark.is_exportable:
        log_access(Access(who, "http", champion.name, champion.version, cutoff.isoformat(), mark.text))
    return ForecastAnswer(
        data_set=champion.name,
        model=predictor.config.label,
        version=champion.version,
        data_set_version=champion.data_set_version,
        cutoff=cutoff.isoformat(),
        interval=predictor.config.interval,
        timezone=predictor.config.timezone,
        privacy=_told(mark),
        forecasts=_rows(frame, request.quantiles),
    )


def _told(mark: Mark | None) -> PrivacyMark | None:
    if mark is None:
        return None
    return PrivacyMark(input=mark.input, mark=mark.text, exportable=mark.is_exportable, claim=mark.claim)


def _rows(frame: pl.DataFrame, quantiles: Sequence[float]) -> list[ForecastRow]:
    columns = {f"{quantile:g}": quantile_name(quantile) for quantile in quantiles}
    told = frame.with_columns(pl.col("ds").dt.strftime("%Y-%m-%dT%H:%M:%S%:z"))
    return [
        ForecastRow(**row, quantiles={text: row[column] for text, column in columns.items()})
        for row in told.iter_rows(named=True)
    ]


def list_models() -> ModelList:
    return ModelList(
        models=[
            ModelVersion(
                name=row.name,
                version=row.version,
                aliases=list(row.aliases),
                model=row.model,
                mae=None if row.scores_are_raw else row.mae,
                privacy=row.claim,
                data_set_version=row.dataset_version,
                created=row.created,
            )
            for row in all_versions()
        ]
    )


def readiness(get: Callable[[str], Champion], data_sets: Sequence[str]) -> Readiness:
    """Whether every one of `data_sets` has a champion that loads; any of all, where none is named.

    Raises Refusal, 503, that says what is missing.
    """
    known = {row.name for row in all_versions()}
    loaded, missing = {}, []
    for name in data_sets or sorted(known):
        try:
            loaded[name] = get(name).version
        except Refusal as refusal:
            missing.append(str(refusal))
    if missing if data_sets else not loaded:
        raise Refusal(503, "not_ready", "; ".join(missing) or "no model is registered yet; `flockcast run` does it")
    return Readiness(champions=loaded)
