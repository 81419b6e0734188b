"""Eight clients at once for a while: every prediction equals the local one, and memory stays flat."""

import os
import sys
import threading
import time

import pytest
from helpers.http_server import form, http_server

pytestmark = pytest.mark.slow
SECONDS = float(os.environ.get("HRNET_DEPLOY_SOAK_S", "20"))
CLIENTS = 8


def plain(record):
    return {key: value for key, value in record.items() if key not in {"name", "speed", "topk"}}


def test_eight_clients_get_the_local_predictions_and_memory_stays_flat(photos_onnx, photos, jpegs, tmp_path, capsys):
    want = [plain(photos.predict(content).to_dict()) for content in jpegs]
    wrong, lost, counts, sizes = [], [], [0] * CLIENTS, []
    with http_server(tmp_path, f"photos={photos_onnx}", "--streams", 1) as server:
        end = time.monotonic() + SECONDS

        def request(number):
            index = (number + counts[number]) % len(jpegs)
            if counts[number] % 5:
                status, found = server.post("/predict", jpegs[index])
                return status, [found], [want[index]]
            return *server.post("/predict", *form(*[("images", "x.jpg", content) for content in jpegs])), want

        def client(number):
            while time.monotonic() < end:
                try:
                    status, found, expected = request(number)
                except Exception as error:  # noqa: BLE001 - a lost request is what the test counts
                    lost.append(repr(error))
                    continue
                if status != 200:
                    lost.append(found)
                elif [plain(one) for one in found] != expected:
                    wrong.append(found)
                counts[number] += 1

        clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
        for thread in clients:
            thread.start()
        while time.monotonic() < end:
            sizes.append(server.rss_bytes)
            time.sleep(SECONDS / 200)
        for thread in clients:
            thread.join()
        sizes.append(server.rss_bytes)
        text = server.request("GET", "/metrics")[2].decode()
        assert server.stop() == 0
    warm = sizes[len(sizes) // 4]  # every batch size has been met
    batches = [int(line.split()[1]) for line in text.splitlines() if line.startswith("hrnet_batch_images_bucket{")]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{sum(counts)} requests, {len(lost)} lost, {len(wrong)} wrong, batches {batches}, "
            f"RSS first {sizes[0] >> 20}, warm {warm >> 20}, last {sizes[-1] >> 20}, max {max(sizes) >> 20} MiB\n"
        )
    assert not lost, lost[0]
    assert not wrong, wrong[0]
    assert min(counts) > 0
    assert batches[-1] > batches[0], "no batch of several images"
    assert sizes[-1] < 1.05 * warm, (warm, sizes[-1])
    assert max(sizes[len(sizes) // 4 :]) < 1.1 * warm, (warm, max(sizes))
    assert "Traceback" not in server.log
