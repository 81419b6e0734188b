"""hrnet-serve's app inside Ray Serve, which adds replicas while requests wait.

HRNET_ARTIFACT=/models/w18.onnx serve run ray_app:deployment
"""

import os

from ray import serve

THREADS = 2


def build_app():
    """Open the artifact in the replica's process; its path must exist on every node."""
    from hrnet_deploy import Predictor
    from hrnet_deploy.serving import app

    path = os.environ["HRNET_ARTIFACT"]
    return app({"model": Predictor(path, threads=THREADS)})


deployment = serve.deployment(
    serve.ingress(build_app)(),
    max_ongoing_requests=16,
    max_queued_requests=64,
    ray_actor_options={"num_cpus": THREADS},
    autoscaling_config={"min_replicas": 1, "max_replicas": 8, "target_ongoing_requests": 4, "upscale_delay_s": 10},
).bind()
