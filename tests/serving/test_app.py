"""The ASGI application: limits, tokens, hosts, mounting, and what programs and people read."""

import asyncio
import base64
import hashlib
import json
import logging
import re
import subprocess
import threading

import cv2
import pytest
from helpers.asgi_call import Lifespan, asgi_call
from helpers.peer_environment import peer_python
from starlette.applications import Starlette
from starlette.routing import Mount

from hrnet_deploy import Predictor, serving
from hrnet_deploy.errors import DeviceError, UsageError
from hrnet_deploy.imaging.synthetic_images import synthetic_images


def run(check, *models, **options):
    """Run a check of an application that has started."""

    async def inside():
        async with Lifespan(serving.app(*models, **options)) as app:
            return await check(app)

    return asyncio.run(inside())


async def until(condition):
    """Give way to the other requests until a condition holds."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("the condition did not come true within 30 s")


class Gate:
    """Holds every inference of a predictor until it is opened."""

    def __init__(self, predictor, monkeypatch):
        self.open, self.entered, self.count = threading.Event(), threading.Semaphore(0), 0
        infer = predictor.infer

        def held(batch):
            if threading.current_thread().name != "MainThread" and not self.warming(batch):
                self.count += len(batch)
                self.entered.release()
                assert self.open.wait(30)
            return infer(batch)

        monkeypatch.setattr(predictor, "infer", held)

    @staticmethod
    def warming(batch):
        """Whether it is the run of zeros that opens a model."""
        return not batch.any()

    async def wait_until_entered(self):
        assert await asyncio.to_thread(self.entered.acquire, timeout=30)


@pytest.fixture
def gate(photos_onnx, monkeypatch):
    with Predictor(photos_onnx, device="cpu") as predictor:
        found = Gate(predictor, monkeypatch)
        found.predictor = predictor
        yield found
        found.open.set()


def test_a_full_queue_refuses_with_the_time_to_try_again(gate, jpegs):
    async def check(app):
        first = [asyncio.ensure_future(asgi_call(app, "POST", "/predict", jpegs[0])) for _ in range(3)]
        await gate.wait_until_entered()
        await until(lambda: app.state.models.get("m").in_use == 3)
        status, headers, body = await asgi_call(app, "POST", "/predict", jpegs[0])
        assert (status, headers["retry-after"]) == (503, "1")
        assert "3 of 3 places" in json.loads(body)["error"]
        many = json.dumps({"images": ["aGk="] * 4}).encode()
        gate.open.set()
        assert [(await one)[0] for one in first] == [200, 200, 200]
        found = await asgi_call(app, "POST", "/predict", many, {"content-type": "application/json"})
        assert (found[0], b"at most 3 images" in found[2]) == (413, True)
        assert (await asgi_call(app, "POST", "/predict", jpegs[0]))[0] == 200

    run(check, {"m": gate.predictor}, limits=serving.Limits(queue=3))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["photos_onnx", "street_onnx"])
def test_a_batch_gives_the_bits_of_single_images(request, monkeypatch, name):
    sent = [cv2.imencode(".png", image)[1].tobytes() for image in synthetic_images(9, (64, 96))]
    with Predictor(request.getfixturevalue(name), device="cpu", streams=1) as predictor:
        local = [predictor.predict(content).to_dict() for content in sent]
        gate = Gate(predictor, monkeypatch)

        async def check(app):
            requests = [asyncio.ensure_future(asgi_call(app, "POST", "/predict", content)) for content in sent]
            await gate.wait_until_entered()
            await until(lambda: app.state.models.get("m").waiting == 8)
            gate.open.set()
            found = [json.loads((await one)[2]) for one in requests]
            assert 'hrnet_batch_images_bucket{model="m",le="4"} 1\n' in app.state.models.metrics.text()
            assert 'hrnet_batch_images_bucket{model="m",le="8"} 2\n' in app.state.models.metrics.text()
            for one, want in zip(found, local, strict=True):
                assert {key: one[key] for key in want if key != "speed"} == {
                    key: value for key, value in want.items() if key != "speed"
                }

        run(check, {"m": predictor})


@pytest.mark.slow
def test_a_request_whose_time_is_over_is_not_computed(gate, jpegs):
    async def check(app):
        first = [asyncio.ensure_future(asgi_call(app, "POST", "/predict", jpegs[0])) for _ in range(4)]
        await gate.wait_until_entered()
        found = [await one for one in first]
        assert [status for status, _, _ in found] == [504] * 4
        assert app.state.models.get("m").in_use == 0
        gate.open.set()
        assert (await asgi_call(app, "POST", "/predict", jpegs[1]))[0] == 200
        assert gate.count == 2

    run(check, {"m": gate.predictor}, limits=serving.Limits(timeout_s=0.5))


def test_a_client_that_leaves_frees_its_place_and_is_not_computed(gate, jpegs):
    async def check(app):
        first = asyncio.ensure_future(asgi_call(app, "POST", "/predict", jpegs[0]))
        await gate.wait_until_entered()
        leaves = asyncio.Event()
        others = [asyncio.ensure_future(asgi_call(app, "POST", "/predict", jpegs[0], leaves=leaves)) for _ in range(5)]
        await until(lambda: app.state.models.get("m").in_use == 6)
        leaves.set()
        assert [(await one)[0] for one in others] == [None] * 5
        assert app.state.models.get("m").in_use == 1
        gate.open.set()
        assert (await first)[0] == 200
        assert gate.count == 1
        assert 'route="/predict",status="499"} 5' in (await asgi_call(app, "GET", "/metrics"))[2].decode()

    run(check, {"m": gate.predictor})


def test_bodies_in_work_have_a_limit_together(gate, jpegs):
    async def check(app):
        bodies = app.state.models.bodies
        first = [asyncio.ensure_future(asgi_call(app, "POST", "/predict", jpegs[0])) for _ in range(2)]
        await gate.wait_until_entered()
        await until(lambda: bodies.used == 2 * len(jpegs[0]))
        status, headers, body = await asgi_call(app, "POST", "/predict", jpegs[0])
        assert (status, headers["retry-after"]) == (503, "1")
        assert "bodies of all requests must have at most" in json.loads(body)["error"]
        assert bodies.used == 2 * len(jpegs[0])
        gate.open.set()
        assert [(await one)[0] for one in first] == [200, 200]
        await until(lambda: bodies.used == 0)
        assert (await asgi_call(app, "POST", "/predict", jpegs[0]))[0] == 200

    run(check, {"m": gate.predictor}, limits=serving.Limits(in_flight_bytes=int(2.5 * len(jpegs[0]))))


def test_a_body_beyond_the_common_limit_passes_alone(photos, jpegs):
    async def check(app):
        assert (await asgi_call(app, "POST", "/predict", jpegs[0]))[0] == 200
        assert app.state.models.bodies.used == 0

    run(check, {"m": photos}, limits=serving.Limits(in_flight_bytes=10))


def test_the_body_of_a_client_that_left_is_counted_until_its_work_ends(gate, jpegs):
    async def check(app):
        leaves = asyncio.Event()
        one = asyncio.ensure_future(asgi_call(app, "POST", "/predict", jpegs[0], leaves=leaves))
        await gate.wait_until_entered()
        leaves.set()
        assert (await one)[0] is None
        assert app.state.models.bodies.used == len(jpegs[0])
        gate.open.set()
        await until(lambda: app.state.models.bodies.used == 0)

    run(check, {"m": gate.predictor})


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/predict", b"no image", "image/png"),
        ("/predict", b"[" * 1000, "application/json"),
        ("/predict", b'{"images": ["aGk=", "x"]}', "application/json"),
        ("/v2/models/m/infer", b"{}", "application/json"),
    ],
)
def test_a_refused_request_gives_its_bytes_back(photos, path, body, kind):
    async def check(app):
        await asgi_call(app, "POST", path, body, {"content-type": kind})
        assert app.state.models.bodies.used == 0

    run(check, {"m": photos})


def test_a_failure_has_no_internals_in_its_response(photos_onnx, jpegs, monkeypatch, caplog):
    with Predictor(photos_onnx, device="cpu") as predictor:
        infer = predictor.infer

        def fail(batch):
            if batch.any():
                raise DeviceError("secret path /srv/models")
            return infer(batch)

        monkeypatch.setattr(predictor, "infer", fail)

        async def check(app):
            with caplog.at_level(logging.ERROR):
                status, _, body = await asgi_call(app, "POST", "/predict", jpegs[0])
            assert (status, b"secret" in body) == (500, False)
            assert "secret path" in caplog.text

        run(check, {"m": predictor})


def test_a_token_is_required_but_for_the_page_and_health(photos_onnx, jpegs):
    async def check(app):
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "Basic s3cret"},
            {"authorization": "é"},
        ):
            for method, path in (
                ("POST", "/predict"),
                ("GET", "/models"),
                ("GET", "/metrics"),
                ("GET", "/openapi.json"),
            ):
                status, received, body = await asgi_call(app, method, path, jpegs[0], headers)
                assert (status, list(json.loads(body))) == (401, ["error"])
                assert received["www-authenticate"] == "Bearer"
        for path in ("/", "/v2/health/live", "/v2/health/ready"):
            assert (await asgi_call(app, "GET", path))[0] == 200
        assert (await asgi_call(app, "POST", "/predict", jpegs[0], {"authorization": "Bearer s3cret"}))[0] == 200

    run(check, {"m": photos_onnx}, token="s3cret", device="cpu")  # noqa: S106


def test_a_foreign_host_is_refused(photos_onnx):
    async def check(app):
        for host, status in {
            "localhost:8000": 200,
            "[::1]:80": 200,
            "LOCALHOST": 200,
            "evil.example:8000": 400,
        }.items():
            assert (await asgi_call(app, "GET", "/", headers={"host": host}))[0] == status

    run(check, {"m": photos_onnx}, hosts=["localhost", "[::1]"], device="cpu")


def test_it_serves_mounted_in_another_application(photos_onnx, jpegs):
    own = serving.app({"m": photos_onnx}, device="cpu")
    app = Starlette(routes=[Mount("/vision", own)])

    async def check():
        first = [asgi_call(app, "POST", "/vision/models/m/predict", content) for content in jpegs]
        assert [status for status, _, _ in await asyncio.gather(*first)] == [200] * len(jpegs)
        assert (await asgi_call(app, "GET", "/vision/"))[0] == 200

    asyncio.run(check())
    own.state.models.close()


def test_a_server_that_drains_is_alive_but_not_ready(photos_onnx):
    async def check(app):
        for draining, status in ((False, 200), (True, 503)):
            app.state.models.is_draining = draining
            assert (await asgi_call(app, "GET", "/v2/health/live"))[0] == 200
            assert (await asgi_call(app, "GET", "/v2/health/ready"))[0] == status
            assert (await asgi_call(app, "GET", "/v2/models/m/ready"))[0] == status

    run(check, {"m": photos_onnx}, device="cpu")


def test_a_predictor_that_was_given_open_stays_open(photos_onnx, jpegs):
    with Predictor(photos_onnx, device="cpu") as predictor:
        run(lambda app: asgi_call(app, "POST", "/predict", jpegs[0]), {"m": predictor})
        assert predictor.predict(jpegs[0]).score > 0
        assert not [one.name for one in threading.enumerate() if one.name.startswith("hrnet-")]


@pytest.mark.parametrize(
    ("models", "options"),
    [
        ({}, {}),
        ({"a/b": "x.onnx"}, {}),
        ({"..": "x.onnx"}, {}),
        ({"a b": "x.onnx"}, {}),
        ({"a": "x.onnx"}, {"token": " "}),
        ({"a": "x.onnx"}, {"token": " s3cret"}),
    ],
)
def test_what_cannot_be_served_is_refused(models, options):
    with pytest.raises(UsageError):
        serving.app(models, **options)


@pytest.mark.parametrize(
    "limits",
    [
        {"queue": 0},
        {"images": 1.5},
        {"timeout_s": -1},
        {"timeout_s": float("nan")},
        {"pixels": 1 << 40},
        {"batch": True},
    ],
)
def test_limits_are_checked(limits):
    with pytest.raises(UsageError, match="limit"):
        serving.Limits(**limits)


@pytest.mark.slow
def test_metrics_are_read_by_the_library_of_prometheus(server, jpegs):
    python = peer_python("prometheus", "prometheus-client==0.25.0")
    server.post("/models/photos/predict", jpegs[0])
    text = server.request("GET", "/metrics")[2]
    script = (
        "import sys, json; from prometheus_client.parser import text_string_to_metric_families as read\n"
        "families = list(read(sys.stdin.read()))\n"
        "print(json.dumps([[f.name, f.type, [[s.name, s.labels, s.value] for s in f.samples]] for f in families]))"
    )
    done = subprocess.run([python, "-c", script], input=text.decode(), capture_output=True, text=True, check=True)
    families = {name: (kind, samples) for name, kind, samples in json.loads(done.stdout)}
    assert {name: kind for name, (kind, _) in families.items()} == {
        "hrnet_requests": "counter",
        "hrnet_request_seconds": "histogram",
        "hrnet_batch_images": "histogram",
        "hrnet_queue_images": "gauge",
        "hrnet_images_in_use": "gauge",
        "hrnet_body_bytes": "gauge",
        "hrnet_requests_in_flight": "gauge",
    }
    done = [
        value
        for _, labels, value in families["hrnet_requests"][1]
        if labels == {"model": "photos", "route": "/models/{name}/predict", "status": "200"}
    ]
    assert done[0] >= 1
    buckets = [
        value
        for name, labels, value in families["hrnet_request_seconds"][1]
        if name.endswith("_bucket") and labels["route"] == "/models/{name}/predict" and labels["model"] == "photos"
    ]
    assert buckets == sorted(buckets)


@pytest.mark.slow
def test_the_description_is_valid_and_describes_what_is_sent(server, jpegs):
    python = peer_python("openapi", "openapi-spec-validator==0.7.2", "jsonschema")
    document = server.get_json("/openapi.json")
    assert set(document["paths"]) >= {
        "/models/photos/predict",
        "/models/city/predict",
        "/v2/models/city/infer",
        "/metrics",
    }
    record = server.post("/models/city/predict?mask=1", jpegs[0])[1]
    other = server.post("/models/photos/predict", jpegs[0])[1]
    script = (
        "import sys, json; from openapi_spec_validator import validate\n"
        "from jsonschema import Draft202012Validator as V\n"
        "document, city, photos = json.load(sys.stdin); validate(document)\n"
        "for name, record in (('city', city), ('photos', photos)):\n"
        "    V(document['components']['schemas']['Prediction_' + name]).validate(record)\n"
        "record = city | {'shares': {'unknown': 1}}\n"
        "assert not V(document['components']['schemas']['Prediction_city']).is_valid(record)\n"
    )
    sent = json.dumps([document, record, other])
    done = subprocess.run([python, "-c", script], input=sent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_page_loads_nothing_from_elsewhere_and_its_policy_fits_it(server):
    status, headers, body = server.request("GET", "/")
    text = body.decode()
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    for element in ("script", "style"):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
    assert set(re.findall(r"https?://[^\"'\s]*", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<[^>]*\s(style|on\w+|src|href)=\"[^\"]", text)


def test_every_described_route_is_there_and_every_reference_leads_somewhere(server):
    status, headers, body = server.request("GET", "/openapi.json")
    document = json.loads(body)
    assert (status, headers["Content-Type"], document["openapi"]) == (200, "application/json", "3.1.0")
    for path, methods in document["paths"].items():
        if "get" in methods:
            assert server.request("GET", path)[0] == 200, path
        else:
            assert server.request("POST", path, b"x")[0] == 400, path
    for reference in re.findall(r'"\$ref":"#/([^"]*)"', body.decode()):
        found = document
        for part in reference.split("/"):
            found = found[part]
    operations = re.findall(r'"operationId":"([^"]*)"', body.decode())
    assert len(operations) == len(set(operations)) > 10


def test_the_models_are_listed_for_people_and_programs(server, street):
    listed = server.get_json("/models")
    assert [model["name"] for model in listed["models"]] == ["photos", "city"]
    assert listed["limits"] == {"body_bytes": 2_000_000, "images": 64, "pixels": 1_000_000}
    city = listed["models"][1]
    assert city["classes"] == list(street.card.classes)
    assert len(city["palette"]) == len(city["classes"])
    assert (city["task"], city["device"]) == ("segmentation", "cpu")
