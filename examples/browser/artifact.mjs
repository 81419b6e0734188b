// An artifact's card, an image as the artifact takes it, and its labels. Used by the page and by ../node.

/** Read the card from the bytes of an .onnx file: the entry "hrnet_deploy.card" of its metadata (field 14). */
export function readCard(bytes) {
  for (const [number, entry] of fields(bytes)) {
    if (number !== 14) continue;
    const [key, value] = [1, 2].map((part) => text(fields(entry).find(([n]) => n === part)?.[1]));
    if (key !== "hrnet_deploy.card") continue;
    const card = JSON.parse(value);
    require(card.pixels_in && ["topk", "labels"].includes(card.output_kind), "--pixels-in --labels-out");
    return card;
  }
  throw new Error("model must have a card, got none. Make one: hrnet-export FILE.onnx --task ... -o NEW.onnx");
}

/** Resize, crop and order RGB bytes as the card states: { data, dims, width, height } of the graph's input. */
export function preprocess(card, rgb, width, height) {
  const { resize, size_hw: size, interpolation, rounding, crop_pct: share, channel_order: order } = card.preprocessing;
  let image = { pixels: rgb, width, height };
  if (resize !== "none") {
    require(["squash", "short-side"].includes(resize), "--resize squash or short-side");
    let [tall, wide] = size;
    if (resize === "short-side") {
      require(size[0] === size[1] && rounding === "torchvision", "--preprocessing official and a square size");
      const goal = Math.floor(size[0] / share);
      [tall, wide] = height <= width ? [goal, Math.floor((goal * width) / height)] : [Math.floor((goal * height) / width), goal];
    }
    require(interpolation === "bilinear" || (tall === height && wide === width), "--interpolation bilinear");
    image = crop(resizeAndTranspose(resizeAndTranspose(image, wide), tall), size[0], size[1]);
  }
  const data = Uint8Array.from(image.pixels);
  if (order === "bgr") for (let k = 0; k < data.length; k += 3) [data[k], data[k + 2]] = [data[k + 2], data[k]];
  return { data, dims: [1, image.height, image.width, 3], width: image.width, height: image.height };
}

/** A class by its index; a card stores ImageNet's and Cityscapes' lists by their name only. */
export function className(card, index) {
  return typeof card.classes === "string" ? `${card.classes} class ${index}` : card.classes[index];
}

/** The best classes as lines of score and name. */
export function bestClasses(card, { labels, scores }) {
  return Array.from(labels.data, (index, k) => `${scores.data[k].toFixed(6)} ${className(card, Number(index))}`);
}

/** The mask at the image's size: the nearest label of each pixel. */
export function maskAt(labels, wide, tall, width, height) {
  const mask = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    const row = Math.floor(((2 * y + 1) * tall) / (2 * height)) * wide;
    for (let x = 0; x < width; x++) mask[y * width + x] = labels[row + Math.floor(((2 * x + 1) * wide) / (2 * width))];
  }
  return mask;
}

function require(fits, flags) {
  if (!fits) throw new Error(`model must be exported with ${flags}. Export it again.`);
}

/** Pillow's bilinear filter along one axis, in its fixed point. Two calls resize both axes. */
function resizeAndTranspose({ pixels, width, height }, length) {
  const out = new Uint8Array(3 * height * length);
  const step = width / length;
  const reach = Math.max(step, 1);
  for (let x = 0; x < length; x++) {
    const center = (x + 0.5) * step;
    const low = Math.max(0, Math.trunc(center - reach + 0.5));
    const high = Math.min(width, Math.trunc(center + reach + 0.5));
    const weights = [];
    for (let i = low; i < high; i++) weights.push(Math.max(0, 1 - Math.abs((i + 0.5 - center) / reach)));
    const total = weights.reduce((a, b) => a + b, 0);
    const fixed = weights.map((weight) => Math.floor((weight / total) * 4194304 + 0.5));
    for (let k = 0; k < 3 * height; k++) {
      const start = 3 * (Math.floor(k / 3) * width + low) + (k % 3);
      let sum = 2097152;
      for (let i = 0; i < fixed.length; i++) sum += fixed[i] * pixels[start + 3 * i];
      out[x * 3 * height + k] = Math.min(255, sum >> 22);
    }
  }
  return { pixels: out, width: height, height: length };
}

function crop({ pixels, width, height }, tall, wide) {
  const start = (whole, part) => {
    const half = (whole - part) / 2; // Python rounds halves to the even number
    return half % 1 === 0.5 ? 2 * Math.round(half / 2) : half;
  };
  const [top, left] = [start(height, tall), start(width, wide)];
  const out = new Uint8Array(3 * tall * wide);
  for (let y = 0; y < tall; y++) {
    const from = 3 * ((y + top) * width + left);
    out.set(pixels.subarray(from, from + 3 * wide), 3 * y * wide);
  }
  return { pixels: out, width: wide, height: tall };
}

/** The fields of a protocol buffer message as [number, bytes]; numbers alone are skipped. */
function fields(bytes) {
  const found = [];
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      if (byte === undefined || scale > 2 ** 63) throw new Error("model must be an ONNX file, got another one.");
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    if (tag % 8 === 0) varint();
    else if (tag % 8 === 2) {
      const length = varint();
      found.push([Math.floor(tag / 8), bytes.subarray(at, at + length)]);
      at += length;
    } else throw new Error("model must be an ONNX file, got another one.");
  }
  return found;
}

function text(bytes) {
  return new TextDecoder().decode(bytes);
}
