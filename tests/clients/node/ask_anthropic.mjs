// Anthropic's SDK for Node, as it comes. `node ask_anthropic.mjs CASE MODEL` prints what the client was given as one line of JSON.
// ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY are all that it is told about the server.
import Anthropic from "@anthropic-ai/sdk";

const [name, model] = process.argv.slice(2);
const client = new Anthropic({ maxRetries: 0 });
const asked = { model, max_tokens: 100, messages: [{ role: "user", content: "Name three rivers." }] };

const cases = {
  async message() {
    const answer = await client.messages.create(asked);
    return { text: answer.content[0].text, tokens: answer.usage.output_tokens };
  },

  async stream() {
    let pieces = 0;
    const stream = client.messages.stream(asked).on("text", () => (pieces += 1));
    const answer = await stream.finalMessage();
    return { text: answer.content[0].text, tokens: answer.usage.output_tokens, pieces };
  },

  async tools() {
    const call = { type: "tool_use", id: "toolu_1", name: "weather", input: { city: "Seoul" } };
    const result = { type: "tool_result", tool_use_id: "toolu_1", content: "Rain." };
    const messages = [
      ...asked.messages,
      { role: "assistant", content: [call] },
      { role: "user", content: [result] },
    ];
    const tools = [{ name: "weather", input_schema: { type: "object", properties: { city: { type: "string" } } } }];
    const answer = await client.messages.create({ ...asked, messages, tools });
    return { text: answer.content[0].text, tokens: answer.usage.output_tokens };
  },

  async batch() {
    const requests = Array.from({ length: 20 }, (_, number) => ({ custom_id: `q-${number}`, params: asked }));
    let batch = await client.messages.batches.create({ requests });
    while (batch.processing_status !== "ended") {
      await new Promise((done) => setTimeout(done, 50));
      batch = await client.messages.batches.retrieve(batch.id);
    }
    const ids = [];
    for await (const result of await client.messages.batches.results(batch.id)) ids.push(result.custom_id);
    return { succeeded: batch.request_counts.succeeded, ids };
  },

  async unknown_model() {
    try {
      await client.messages.create({ ...asked, model: "no-such-model" });
    } catch (error) {
      return { error: error.constructor.name, type: error.error.error.type };
    }
  },
};

console.log(JSON.stringify(await cases[name]()));
