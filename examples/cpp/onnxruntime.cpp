// Predict with ONNX Runtime's C API: hrnet_onnxruntime MODEL.onnx IMAGE.ppm [MASK.pgm]
#include <onnxruntime_c_api.h>

#include "artifact.hpp"

static const OrtApi* api = nullptr;

static void check(OrtStatus* status) {
    if (status != nullptr) throw std::runtime_error(api->GetErrorMessage(status));
}

template <class T>
static T* values(OrtValue* tensor) {
    void* data = nullptr;
    check(api->GetTensorMutableData(tensor, &data));
    return static_cast<T*>(data);
}

int main(int argc, char** argv) try {
    if (argc < 3) throw std::runtime_error("usage: hrnet_onnxruntime MODEL.onnx IMAGE.ppm [MASK.pgm]");
    api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (api == nullptr) throw std::runtime_error("libonnxruntime must be as new as its headers. Install a newer one.");
    OrtEnv* env = nullptr;
    OrtSessionOptions* options = nullptr;
    OrtSession* session = nullptr;
    OrtAllocator* allocator = nullptr;
    OrtModelMetadata* metadata = nullptr;
    OrtMemoryInfo* memory = nullptr;
    check(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "hrnet", &env));
    check(api->CreateSessionOptions(&options));
    check(api->CreateSession(env, argv[1], options, &session));
    check(api->GetAllocatorWithDefaultOptions(&allocator));
    check(api->SessionGetModelMetadata(session, &metadata));
    check(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
    char* text = nullptr;
    check(api->ModelMetadataLookupCustomMetadataMap(metadata, allocator, "hrnet_deploy.card", &text));
    if (text == nullptr) throw std::runtime_error("model must have a card.");
    const std::string card = text;
    const Image image = read_ppm(argv[2]);
    Image input = preprocess(image, card);
    const int64_t shape[] = {1, int64_t(input.height), int64_t(input.width), 3};
    OrtValue* tensor = nullptr;
    check(api->CreateTensorWithDataAsOrtValue(memory, input.pixels.data(), input.pixels.size(), shape, 4,
                                              ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, &tensor));
    const bool classifier = field(card, "output_kind", "\"(topk|labels)\"") == "topk";
    const char* inputs[] = {"input"};
    const char* outputs[] = {"labels", "scores"};
    OrtValue* results[2] = {};
    check(api->Run(session, nullptr, inputs, &tensor, 1, outputs, classifier ? 2 : 1, results));
    if (classifier) {
        OrtTensorTypeAndShapeInfo* info = nullptr;
        size_t count = 0;
        check(api->GetTensorTypeAndShape(results[0], &info));
        check(api->GetTensorShapeElementCount(info, &count));
        print_classes(card, values<int64_t>(results[0]), values<float>(results[1]), count);
    } else {
        write_pgm(argc > 3 ? argv[3] : "mask.pgm", values<uint8_t>(results[0]), input.width, input.height, image);
    }
} catch (const std::exception& error) {  // the system frees what the process held
    std::cerr << "hrnet_onnxruntime: " << error.what() << '\n';
    return 2;
}
