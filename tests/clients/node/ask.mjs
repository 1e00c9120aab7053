// OpenAI's SDK for Node, as it comes. `node ask.mjs CASE MODEL` prints what the client was given as one line of JSON.
// OPENAI_BASE_URL and OPENAI_API_KEY are all that it is told about the server.
import OpenAI, { toFile } from "openai";

const [name, model] = process.argv.slice(2);
const client = new OpenAI({ maxRetries: 0 });
const messages = [{ role: "user", content: "Name three rivers." }];

const cases = {
  async chat() {
    const answer = await client.chat.completions.create({ model, messages });
    return { text: answer.choices[0].message.content, tokens: answer.usage.completion_tokens };
  },

  async stream() {
    const stream = await client.chat.completions.create({
      model,
      messages,
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    const text = chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join("");
    return { text, tokens: chunks.at(-1).usage.completion_tokens, chunks: chunks.length };
  },

  async response() {
    const answer = await client.responses.create({ model, input: "Name three rivers." });
    return { text: answer.output_text, tokens: answer.usage.output_tokens, status: answer.status };
  },

  async streamed_response() {
    const stream = client.responses.stream({ model, input: "Name three rivers." });
    let chunks = 0;
    stream.on("response.output_text.delta", () => (chunks += 1));
    const answer = await stream.finalResponse();
    return { text: answer.output_text, tokens: answer.usage.output_tokens, status: answer.status, chunks };
  },

  async batch() {
    const lines = Array.from({ length: 20 }, (_, number) => line(number));
    const file = await client.files.create({ file: await toFile(Buffer.from(lines.join("")), "requests.jsonl"), purpose: "batch" });
    let batch = await client.batches.create({
      input_file_id: file.id,
      endpoint: "/v1/chat/completions",
      completion_window: "24h",
    });
    while (!["completed", "failed", "expired", "cancelled"].includes(batch.status)) {
      await new Promise((done) => setTimeout(done, 50));
      batch = await client.batches.retrieve(batch.id);
    }
    const output = await (await client.files.content(batch.output_file_id)).text();
    const ids = output.trim().split("\n").map((result) => JSON.parse(result).custom_id);
    return { status: batch.status, completed: batch.request_counts.completed, ids };
  },

  async unknown_model() {
    try {
      await client.chat.completions.create({ model: "no-such-model", messages });
    } catch (error) {
      return { error: error.constructor.name, code: error.code };
    }
  },
};

function line(number) {
  const body = { model, messages: [{ role: "user", content: `What is ${number}?` }] };
  return JSON.stringify({ custom_id: `q-${number}`, method: "POST", url: "/v1/chat/completions", body }) + "\n";
}

console.log(JSON.stringify(await cases[name]()));
