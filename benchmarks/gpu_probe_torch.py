"""The probe's sections on other users of the GPU in one process; they need torch with CUDA."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from gpu_bench import Bench, noise
from numpy.typing import NDArray

from hrnet_deploy.errors import HrnetDeployError
from hrnet_deploy.protocols import Engine

_TURNS = 200
_WAIT_CYCLES = 2_000_000
"""About a millisecond."""


def readers(bench: Bench) -> None:
    """Check that a slow reader on another stream never reads the next result."""
    torch = _torch(bench)
    if torch is None:
        return
    engine = bench.engine(bench.photos("fp16"))
    one, two = (torch.from_numpy(noise(engine.inputs[0].shape, 4) * scale).cuda() for scale in (1, 3))
    wanted = torch.from_dlpack(engine.run({"input": one})["logits"]).cpu().numpy()
    side = torch.cuda.Stream()
    readings = {"from_dlpack": torch.from_dlpack, "as_tensor": lambda array: torch.as_tensor(array, device="cuda")}
    for name, read in readings.items():
        wrong = 0
        for _ in range(_TURNS):
            found = engine.run({"input": one})["logits"]
            with torch.cuda.stream(side):
                shared = read(found)
                torch.cuda._sleep(_WAIT_CYCLES)  # noqa: SLF001 - as torch's own tests do
                copied = shared.clone()
            del found, shared
            engine.run({"input": two})
            side.synchronize()
            wrong += not np.allclose(copied.cpu().numpy(), wanted, atol=2e-2 * np.abs(wanted).max())
        bench.note(check=f"{name} on another stream reads its own result", holds=not wrong, wrong=wrong, turns=_TURNS)
    host = one.cpu().numpy()
    bench.note(
        device_to_device_ms=bench.median_ms(lambda: engine.run({"input": one})),
        host_to_host_ms=bench.median_ms(lambda: engine.run({"input": host})),
    )
    engine.close()


def capture_beside_allocations(bench: Bench) -> None:
    """Check a capture while another thread allocates on the GPU."""
    torch = _torch(bench)
    if torch is None:
        return
    engine = bench.engine(bench.photos("fp16"))
    shape = engine.inputs[0].shape
    engine.run({"input": noise(shape, 1)})
    stop, faults = threading.Event(), []

    def allocate() -> None:
        try:
            while not stop.is_set():
                torch.empty(1 << 24, device="cuda").fill_(1)
                torch.cuda.synchronize()
                torch.cuda.empty_cache()  # so that the next one is a cudaMalloc
        except Exception as error:  # noqa: BLE001 - any failure is the finding
            faults.append(" ".join(str(error).split())[:200])

    other = threading.Thread(target=allocate)
    other.start()
    runs: list[str] = []
    try:
        runs += [_outcome(engine, noise(shape, batch)) for batch in range(2, 8)]
    finally:
        stop.set()
        other.join()
    holds = all(run == "ok" for run in runs)
    bench.note(check="runs survive a capture that another thread ends", holds=holds, runs=runs)
    bench.note(cuda_graphs=engine.cuda_graphs, other_thread=faults or "ok")
    engine.close()


def _outcome(engine: Engine, array: NDArray[np.float32]) -> str:
    try:
        engine.run({"input": array})
    except HrnetDeployError as error:
        return str(error)[:200]
    return "ok"


def _torch(bench: Bench) -> Any:
    """Return torch with CUDA, or record the reason for its absence."""
    if bench.dry:
        bench.note(left_out="needs a GPU")
        return None
    try:
        import torch
    except ImportError as error:
        bench.note(left_out=f"not installed: {error}")
        return None
    if not torch.cuda.is_available():
        bench.note(left_out=f"torch {torch.__version__} has no CUDA here")
        return None
    return torch
