// An artifact's card, an image as the artifact takes it, and its labels as text or as a PGM file.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <regex>

struct Image {
    size_t width, height;
    std::vector<uint8_t> pixels;  // three bytes each: red, green, blue
};

inline std::string field(const std::string& card, const std::string& name, const std::string& form = "\"([^\"]*)\"") {
    std::smatch found;
    if (std::regex_search(card, found, std::regex('"' + name + "\":" + form))) return found[1];
    throw std::runtime_error("card must have \"" + name + "\" of the form " + form + ". See examples/cpp/README.md.");
}

inline Image read_ppm(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string kind;
    size_t width = 0, height = 0, depth = 0;
    file >> kind >> width >> height >> depth;
    bool fits = kind == "P6" && depth == 255 && width && height && width < 65536 && height < 65536 && file.get() != EOF;
    Image image{width, height, std::vector<uint8_t>(fits ? 3 * width * height : 0)};
    if (fits && file.read(reinterpret_cast<char*>(image.pixels.data()), image.pixels.size())) return image;
    throw std::runtime_error("image must be a whole PPM file (P6, 8 bits), got " + path + ". Convert it.");
}

// Pillow's bilinear filter along one axis, in its fixed point. The result is transposed: two calls resize both axes.
inline Image resize_and_transpose(const Image& in, size_t length) {
    Image out{in.height, length, {}};
    double step = double(in.width) / length, reach = std::max(step, 1.0);
    for (size_t x = 0; x < length; ++x) {
        double center = (x + 0.5) * step, total = 0;
        size_t low = std::max(0, int(center - reach + 0.5)), high = std::min(in.width, size_t(center + reach + 0.5));
        auto weight = [&](size_t i) { return std::max(0.0, 1 - std::abs((i + 0.5 - center) / reach)); };
        for (size_t i = low; i < high; ++i) total += weight(i);
        std::vector<uint32_t> sums(3 * in.height, 1 << 21);
        for (size_t i = low; i < high; ++i)
            for (uint32_t k = 0, w = weight(i) / total * (1 << 22) + 0.5; k < sums.size(); ++k)
                sums[k] += w * in.pixels[3 * (k / 3 * in.width + i) + k % 3];
        for (uint32_t sum : sums) out.pixels.push_back(std::min(255u, sum >> 22));
    }
    return out;
}

// Resized and cropped as the card states, in the graph's order of colors.
inline Image preprocess(Image image, const std::string& card) {
    field(card, "pixels_in", "(true)");
    if (field(card, "resize", "\"(none|squash|short-side)\"") != "none") {
        size_t height = std::stoul(field(card, "size_hw", "\\[(\\d+)")), tall = height, top = 0;
        size_t width = std::stoul(field(card, "size_hw", "\\[\\d+,(\\d+)")), wide = width, left = 0;
        if (field(card, "resize") == "short-side") {
            field(card, "rounding", "\"(torchvision)\"");
            if (height != width) throw std::runtime_error("size must be square for a short side, got another one.");
            size_t goal = std::floor(height / std::stod(field(card, "crop_pct", "([^,}]*)")));
            tall = image.height <= image.width ? goal : goal * image.height / image.width;
            wide = image.height <= image.width ? goal * image.width / image.height : goal;
            top = std::nearbyint((tall - height) / 2.0), left = std::nearbyint((wide - width) / 2.0);
        }
        if (tall != image.height || wide != image.width) field(card, "interpolation", "\"(bilinear)\"");
        Image whole = resize_and_transpose(resize_and_transpose(image, wide), tall);
        image = {width, height, {}};
        for (size_t y = top; y < top + height; ++y) {
            auto row = whole.pixels.begin() + 3 * (y * wide + left);
            image.pixels.insert(image.pixels.end(), row, row + 3 * width);
        }
    }
    if (field(card, "channel_order", "\"(rgb|bgr)\"") == "bgr")
        for (size_t k = 0; k < image.pixels.size(); k += 3) std::swap(image.pixels[k], image.pixels[k + 2]);
    return image;
}

inline void print_classes(const std::string& card, const int64_t* labels, const float* scores, size_t count) {
    static const std::regex name("\"((?:[^\"\\\\]|\\\\.)*)\",?");
    const std::string key = "\"classes\":[";  // ImageNet's and Cityscapes' lists are stored by name
    size_t start = card.find(key);
    for (size_t k = 0; k < count; ++k) {
        std::string label = start == std::string::npos ? field(card, "classes") + " class " + std::to_string(labels[k]) : "";
        if (start != std::string::npos) {
            std::sregex_iterator entry(card.begin() + start + key.size(), card.end(), name);
            std::advance(entry, labels[k]);
            label = entry->str(1);
        }
        std::printf("%.6f %s\n", scores[k], label.c_str());
    }
}

// The mask at the image's size: the nearest label of each pixel.
inline void write_pgm(const std::string& path, const uint8_t* mask, size_t wide, size_t tall, const Image& image) {
    std::ofstream file(path, std::ios::binary);
    file << "P5\n" << image.width << ' ' << image.height << "\n255\n";
    for (size_t y = 0; y < image.height; ++y)
        for (size_t x = 0; x < image.width; ++x)
            file.put(mask[(2 * y + 1) * tall / (2 * image.height) * wide + (2 * x + 1) * wide / (2 * image.width)]);
    if (!file.flush()) throw std::runtime_error("mask must be a path that can be written, got " + path + ".");
}
