// Drives a gateway with openai-node: `openai_node.mjs OPERATION BASE_URL KEY MODEL`.
import OpenAI, { toFile } from "openai";

const [operation, baseURL, apiKey, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, timeout: 30_000 });
const png = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==",
  "base64",
);
const file = (name) => toFile(png, name, { type: "image/png" });

async function types(stream) {
  const events = [];
  for await (const event of stream) events.push(event.type);
  return { events };
}

async function run() {
  const ask = { model, prompt: "a cat", size: "64x64" };
  if (operation === "generate") return { images: (await client.images.generate({ ...ask, n: 2 })).data.length };
  if (operation === "edit") {
    const image = [await file("one.png"), await file("two.png")];
    const answer = await client.images.edit({ mask: await file("mask.png"), ...ask, n: 2, image });
    return { images: answer.data.length };
  }
  const streamed = { stream: true, partial_images: 1 };
  if (operation === "stream") return types(await client.images.generate({ ...ask, ...streamed }));
  if (operation === "edit-stream") {
    return types(await client.images.edit({ ...ask, image: await file("one.png"), ...streamed }));
  }
  if (operation === "leave") {
    for await (const event of await client.images.generate({ ...ask, ...streamed })) return { events: [event.type] };
  }
  const tool = { type: "image_generation", size: "64x64", quality: "low", partial_images: 1 };
  const asked = { model, input: "a cat", tools: [tool], max_tool_calls: 1 };
  if (operation === "respond") {
    const answer = await client.responses.create(asked);
    const calls = answer.output.filter((one) => one.type === "image_generation_call" && one.result);
    return { images: calls.length, text: answer.output_text };
  }
  if (operation === "respond-stream") return types(await client.responses.create({ ...asked, stream: true }));
  const talk = { model, messages: [{ role: "user", content: "a cat" }], modalities: ["image", "text"] };
  if (operation === "chat") {
    const { message } = (await client.chat.completions.create(talk)).choices[0];
    return { images: message.images.length, text: message.content };
  }
  if (operation === "chat-stream") {
    let [images, text] = [0, ""];
    for await (const chunk of await client.chat.completions.create({ ...talk, stream: true })) {
      images += chunk.choices[0].delta.images?.length ?? 0;
      text += chunk.choices[0].delta.content ?? "";
    }
    return { images, text };
  }
  if (operation === "models") {
    const models = [];
    for await (const one of client.models.list()) models.push(one.id);
    return { models };
  }
  throw new Error(`unknown operation ${operation}`);
}

const result = await run().catch((error) => {
  if (!(error instanceof OpenAI.APIError)) throw error;
  return { status: error.status ?? null, code: error.code ?? null, request_id: error.requestID };
});
console.log(JSON.stringify(result));
