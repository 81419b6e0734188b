"""Program for the environment of tritonclient: infer over HTTP with a client that others wrote.

Usage: python v2_client.py URL MODEL INPUT ARRAYS.npz OUT.npz; each array is one request, in JSON and in binary.
"""

import sys

import numpy as np
import tritonclient.http as client

url, model, name, arrays, out = sys.argv[1:]
connection = client.InferenceServerClient(url)
assert connection.is_server_live()
assert connection.is_server_ready()
assert connection.is_model_ready(model)
assert connection.is_model_ready(model, "1")
assert "binary_tensor_data" in connection.get_server_metadata()["extensions"]
metadata = connection.get_model_metadata(model)
config = connection.get_model_config(model)
assert [one["name"] for one in config["input"]] == [one["name"] for one in metadata["inputs"]] == [name]
output = metadata["outputs"][0]["name"]
results = {}
for key, array in np.load(arrays).items():
    for binary in (True, False):
        tensor = client.InferInput(name, list(array.shape), metadata["inputs"][0]["datatype"])
        tensor.set_data_from_numpy(array, binary_data=binary)
        chosen = [client.InferRequestedOutput(output, binary_data=binary)]
        for outputs in (chosen, None):
            response = connection.infer(model, [tensor], outputs=outputs, request_id=key)
            assert response.get_response()["id"] == key
            results[f"{key}_{binary}_{outputs is None}"] = response.as_numpy(output)
refusal = ""
try:
    connection.infer("nothing", [tensor])
except client.InferenceServerException as error:
    refusal = str(error)
assert "model must be one of" in refusal, refusal
np.savez(out, **results)
