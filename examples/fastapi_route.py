"""A route of your own FastAPI application: an uploaded photo in, JSON out.

pip install fastapi uvicorn python-multipart 'hrnet-deploy[cpu]'
HRNET_ARTIFACT=w18.onnx uvicorn fastapi_route:app
curl -F image=@cat.jpg http://127.0.0.1:8000/classify

Each process opens the model once. `hrnet_deploy.serving.app` is a whole application, with batches, metrics and more
limits; this is the short way.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response, UploadFile
from fastapi.responses import JSONResponse

from hrnet_deploy import ImageError, Predictor

MAX_BYTES = 10 << 20
"""Largest body. The package itself refuses images of more than 179 million pixels."""
AT_A_TIME = 2
"""Images that are decoded and classified side by side."""
ACCEPTED = 16
"""Images that wait or run; further ones are refused."""


@asynccontextmanager
async def lifespan(application: FastAPI) -> AsyncIterator[None]:
    """Open the model and its threads once in each process."""
    with Predictor(os.environ["HRNET_ARTIFACT"]) as predictor, ThreadPoolExecutor(AT_A_TIME) as pool:
        application.state.predictor, application.state.pool, application.state.accepted = predictor, pool, 0
        yield


app = FastAPI(lifespan=lifespan)


@app.middleware("http")
async def limit_body(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse a large body before it is read; uvicorn reads no more than the length that the client declares."""
    length = request.headers.get("content-length", "" if request.method == "POST" else "0")
    if not length.isdigit():
        return JSONResponse({"detail": "Content-Length must be given."}, 411)
    if int(length) > MAX_BYTES:
        return JSONResponse({"detail": f"body must have at most {MAX_BYTES} bytes, got {length}."}, 413)
    return await proceed(request)


@app.post("/classify")
async def classify(
    request: Request, image: UploadFile, topk: Annotated[int, Query(ge=1, le=100)] = 5
) -> dict[str, Any]:
    """Classify one photo in a thread, so that the event loop stays free for other requests."""
    state = request.app.state
    if state.accepted >= ACCEPTED:
        raise HTTPException(503, "All places are taken. Try again.", {"Retry-After": "1"})
    state.accepted += 1
    try:
        content = await image.read()
        result = await asyncio.get_running_loop().run_in_executor(state.pool, state.predictor.predict, content)
    except ImageError as error:
        raise HTTPException(400, str(error)) from error
    finally:
        state.accepted -= 1
    return {
        "label": result.label,
        "score": result.score,
        "topk": [{"class": name, "score": score} for name, score in result.topk(topk)],
    }
