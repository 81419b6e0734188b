// The page: a model and an image from files, or from ?model=URL&image=URL.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";
import { bestClasses, className, maskAt, preprocess, readCard } from "./artifact.mjs";

ort.env.wasm.numThreads = 1; // threads need headers that plain file servers do not send

const element = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
let model = null;
let image = null;

element("model").addEventListener("change", (event) => run(() => openModel(event.target.files[0])));
element("image").addEventListener("change", (event) => run(() => openImage(event.target.files[0])));
if (query.has("model") && query.has("image")) {
  run(async () => {
    await openModel(await download(query.get("model")));
    await openImage(await download(query.get("image")));
  });
}

async function run(open) {
  document.body.dataset.state = "busy";
  try {
    await open();
    if (model && image) await predict();
    document.body.dataset.state = "done";
  } catch (error) {
    element("result").textContent = error.message;
    document.body.dataset.state = "failed";
  }
}

async function download(url) {
  const reply = await fetch(url);
  if (!reply.ok) throw new Error(`${url} must exist, got status ${reply.status}.`);
  return reply.blob();
}

async function openModel(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  model = { card: readCard(bytes), session: await ort.InferenceSession.create(bytes) };
}

async function openImage(blob) {
  const bitmap = await createImageBitmap(blob, { premultiplyAlpha: "none", colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const context = element("canvas").getContext("2d", { willReadFrequently: true });
  Object.assign(context.canvas, { width, height });
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const rgb = new Uint8Array(3 * width * height);
  for (let k = 0; k < width * height; k++) rgb.set(data.subarray(4 * k, 4 * k + 3), 3 * k);
  image = { rgb, width, height, bitmap };
}

async function predict() {
  const { card, session } = model;
  const { rgb, width, height, bitmap } = image;
  const input = preprocess(card, rgb, width, height);
  const start = performance.now();
  const outputs = await session.run({ input: new ort.Tensor("uint8", input.data, input.dims) });
  element("time").textContent = `${Math.round(performance.now() - start)} ms`;
  const context = element("canvas").getContext("2d");
  element("mask").hidden = card.output_kind === "topk";
  if (card.output_kind === "topk") {
    context.drawImage(bitmap, 0, 0);
    element("result").textContent = bestClasses(card, outputs).join("\n");
    return;
  }
  const mask = maskAt(outputs.labels.data, input.width, input.height, width, height);
  draw(context, mask, (label) => [label, label, label], 255);
  element("mask").href = context.canvas.toDataURL("image/png"); // class indices as gray
  draw(context, mask, color, 160);
  context.globalCompositeOperation = "destination-over";
  context.drawImage(bitmap, 0, 0);
  context.globalCompositeOperation = "source-over";
  element("result").textContent = shares(card, mask).join("\n");
}

function draw(context, mask, colorOf, alpha) {
  const pixels = context.createImageData(context.canvas.width, context.canvas.height);
  for (let k = 0; k < mask.length; k++) pixels.data.set([...colorOf(mask[k]), alpha], 4 * k);
  context.putImageData(pixels, 0, 0);
}

function color(label) {
  if (model.card.palette) return model.card.palette[label];
  return [37, 97, 173].map((factor) => (label * factor + 60) % 256);
}

function shares(card, mask) {
  const counts = new Map();
  for (const label of mask) counts.set(label, (counts.get(label) ?? 0) + 1);
  const sorted = [...counts].sort((a, b) => b[1] - a[1]);
  return sorted.map(([label, count]) => `${((100 * count) / mask.length).toFixed(1)} % ${className(card, label)}`);
}
