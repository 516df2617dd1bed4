// Drives a gateway with the Vercel AI SDK: `ai_sdk.mjs OPERATION BASE_URL KEY MODEL`.
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, generateImage, generateText, streamText } from "ai";

const [operation, baseURL, apiKey, model] = process.argv.slice(2);
const provider = createOpenAI({ baseURL, apiKey });
const png = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==",
  "base64",
);

async function run() {
  const ask = { model: provider.image(model), n: 2, size: "64x64" };
  const prompt = operation === "edit" ? { text: "a cat", images: [png, png] } : "a cat";
  if (operation === "leave") {
    const abortSignal = AbortSignal.timeout(500);
    await generateImage({ ...ask, n: 1, prompt, abortSignal, maxRetries: 0 }).catch((error) => {
      if (!abortSignal.aborted) throw error;
    });
    return { left: true };
  }
  const talk = {
    model: provider.responses(model),
    prompt: "a cat",
    tools: { image_generation: provider.tools.imageGeneration({ size: "1024x1024", quality: "low", partialImages: 1 }) },
    providerOptions: { openai: { maxToolCalls: 1 } },
  };
  if (operation === "respond") {
    const { text, toolResults } = await generateText(talk);
    return { images: toolResults.filter((one) => one.output.result).length, text };
  }
  if (operation === "respond-stream") {
    const [calls, found] = [new Set(), { results: 0, text: "" }];
    for await (const part of streamText({ ...talk, onError: () => {} }).fullStream) {
      if (part.type === "error") throw part.error;
      if (part.type === "text-delta") found.text += part.text;
      if (part.type === "tool-result") {
        calls.add(part.toolCallId);
        found.results += 1;
      }
    }
    return { images: calls.size, ...found };
  }
  const { images } = await generateImage({ ...ask, prompt });
  return { images: images.length };
}

const result = await run().catch((error) => {
  const cause = error.lastError ?? error.cause ?? error;
  if (!APICallError.isInstance(cause)) throw error;
  return { status: cause.statusCode, code: JSON.parse(cause.responseBody).error.code };
});
console.log(JSON.stringify(result));
