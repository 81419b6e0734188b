// Predict with onnxruntime-node: node predict.mjs MODEL.onnx IMAGE [MASK.png]
import { readFile } from "node:fs/promises";
import * as ort from "onnxruntime-node";
import sharp from "sharp";
import { bestClasses, maskAt, preprocess, readCard } from "../browser/artifact.mjs";

const [modelPath, imagePath, maskPath = "mask.png"] = process.argv.slice(2);
try {
  if (imagePath === undefined) throw new Error("usage: node predict.mjs MODEL.onnx IMAGE [MASK.png]");
  const bytes = await readFile(modelPath);
  const card = readCard(bytes);
  const { data, info } = await sharp(imagePath).rotate().removeAlpha().toColourspace("srgb").raw().toBuffer({ resolveWithObject: true });
  const input = preprocess(card, data, info.width, info.height);
  const session = await ort.InferenceSession.create(bytes);
  const outputs = await session.run({ input: new ort.Tensor("uint8", input.data, input.dims) });
  if (card.output_kind === "topk") {
    console.log(bestClasses(card, outputs).join("\n"));
  } else {
    const mask = maskAt(outputs.labels.data, input.width, input.height, info.width, info.height);
    await sharp(mask, { raw: { width: info.width, height: info.height, channels: 1 } }).toColourspace("b-w").png().toFile(maskPath);
  }
} catch (error) {
  console.error(`predict.mjs: ${error.message}`);
  process.exitCode = 2;
}
