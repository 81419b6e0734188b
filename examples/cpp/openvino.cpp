// Predict with OpenVINO: hrnet_openvino MODEL.onnx IMAGE.ppm [MASK.pgm]
#include <openvino/openvino.hpp>

#include "artifact.hpp"

int main(int argc, char** argv) try {
    if (argc < 3) throw std::runtime_error("usage: hrnet_openvino MODEL.onnx IMAGE.ppm [MASK.pgm]");
    ov::Core core;
    auto model = core.read_model(argv[1]);
    if (!model->has_rt_info("framework", "hrnet_deploy.card")) throw std::runtime_error("model must have a card.");
    const auto card = model->get_rt_info<std::string>("framework", "hrnet_deploy.card");
    const Image image = read_ppm(argv[2]);
    Image input = preprocess(image, card);
    // OpenVINO would choose bfloat16 on some CPUs.
    auto request = core.compile_model(model, "CPU", ov::hint::inference_precision(ov::element::f32)).create_infer_request();
    request.set_input_tensor({ov::element::u8, {1, input.height, input.width, 3}, input.pixels.data()});
    request.infer();
    const auto labels = request.get_output_tensor(0);
    if (field(card, "output_kind", "\"(topk|labels)\"") == "topk") {
        print_classes(card, labels.data<int64_t>(), request.get_output_tensor(1).data<float>(), labels.get_size());
    } else {
        write_pgm(argc > 3 ? argv[3] : "mask.pgm", labels.data<uint8_t>(), input.width, input.height, image);
    }
} catch (const std::exception& error) {
    std::cerr << "hrnet_openvino: " << error.what() << '\n';
    return 2;
}
