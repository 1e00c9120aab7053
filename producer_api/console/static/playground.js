// A chat over any model, with what it took.

import { ask, get } from "/console/api.js";
import { Failure, html, usePolled, useState } from "/console/parts.js";
import { t } from "/console/words.js";

export function Playground() {
  const models = usePolled(() => get("/v1/models"), 0);
  const [model, setModel] = useState("");
  const [prompt, setPrompt] = useState("");
  const [answer, setAnswer] = useState(null);
  const [problem, setProblem] = useState("");
  const chat = async (event) => {
    event.preventDefault();
    setProblem("");
    setAnswer({ text: "", about: "" });
    const began = performance.now();
    try {
      const chosen = model || models.data?.data[0]?.id;
      const body = { model: chosen, messages: [{ role: "user", content: prompt }], stream: true, stream_options: { include_usage: true } };
      const response = await ask("/v1/chat/completions", { method: "POST", body });
      const where = response.headers.get("x-roadbalancer-endpoint");
      const attempts = response.headers.get("x-roadbalancer-attempts");
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      let text = "";
      let usage = null;
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const parts = (rest + value).split("\n\n");
        rest = parts.pop();
        for (const part of parts) {
          const data = part.replace(/^data: /, "");
          if (!data || data === "[DONE]" || !part.startsWith("data: ")) continue;
          const chunk = JSON.parse(data);
          if (chunk.error) throw new Error(chunk.error.message);
          text += chunk.choices?.[0]?.delta?.content || "";
          usage = chunk.usage || usage;
          setAnswer({ text, about: "" });
        }
      }
      const facts = [where, attempts && `${attempts} ${t("Attempts")}`, `${((performance.now() - began) / 1000).toFixed(2)} s`];
      if (usage) facts.push(`${usage.prompt_tokens} + ${usage.completion_tokens} ${t("Tokens")}`);
      if (usage?.cost !== undefined) facts.push(`$${usage.cost}`);
      setAnswer({ text, about: facts.filter(Boolean).join(" · ") });
    } catch (error) {
      setProblem(error.message);
    }
  };
  return html`<h1>${t("Playground")}</h1><${Failure} error=${models.error} />
    <form onSubmit=${chat}>
      <label>${t("Model")}<select id="model" value=${model} onChange=${(event) => setModel(event.target.value)}>
        ${models.data?.data.map((each) => html`<option>${each.id}</option>`)}</select></label>
      <label class="wide">${t("Prompt")}<textarea id="prompt" rows="4" cols="60" value=${prompt} onInput=${(event) => setPrompt(event.target.value)}></textarea></label>
      <button class="main" disabled=${!prompt}>${t("Send")}</button>
    </form>
    ${problem && html`<p class="error" role="alert">${problem}</p>`}
    ${answer && html`<div class="panel" aria-live="polite"><p class="answer" id="answer">${answer.text}</p><p class="faint" id="about">${answer.about}</p></div>`}`;
}
