// One job: how far it is, what can be done with it, and its lines.

import { download, get, lines, send } from "/console/api.js";
import { State } from "/console/jobs.js";
import { Act, Facts, Failure, count, duration, html, money, useEffect, usePolled, useState } from "/console/parts.js";
import { t } from "/console/words.js";

const FINAL = ["completed", "failed", "expired", "cancelled"];
const PAGE = 25;
const START = { start: 0 };
const TYPING = 300; // milliseconds without a key before words are looked for

export function Job({ id }) {
  const job = usePolled(() => get(`/api/v1/jobs/${id}`), 1, [id]);
  const why = usePolled(() => get(`/api/v1/jobs/${id}/why`), 2, [id, job.data?.status, job.data?.paused?.reason]);
  const [priority, setPriority] = useState("");
  const [endpoints, setEndpoints] = useState("");
  if (!job.data) return html`<${Failure} error=${job.error} />`;
  const found = job.data;
  const path = `/api/v1/jobs/${id}`;
  const change = (fields) => async () => {
    await send("PATCH", path, fields);
    job.again();
  };
  const ended = FINAL.includes(found.status);
  return html`<h1>${found.metadata?.name || found.id}</h1>
    <${Failure} error=${job.error} />
    <progress value=${found.progress} max="1" aria-label=${t("Done")}></progress>
    <${Facts} of=${[
      ["Status", html`<${State} job=${found} />`],
      ["Done", `${count(found.counts.completed)} / ${count(found.counts.total)}`],
      ["Failed", count(found.counts.failed)],
      ["Rate", found.rate ? `${found.rate.toFixed(1)}/s` : "–"],
      ["Left", duration(found.eta)],
      ["Cost", `${found.cost.unpriced_lines ? "≥ " : ""}${money(found.cost.usd)}`],
      ["Projection", found.projection ? money(found.projection.usd) : "–"],
      ["Tokens", `${count(found.tokens.input)} + ${count(found.tokens.output)}`],
      ["From cache", found.tokens.input ? `${Math.round((100 * found.tokens.cached) / found.tokens.input)} %` : "–"],
      ["Priority", found.priority],
      ["Endpoints", Object.entries(found.endpoints).map(([name, share]) => `${name} ${count(share)}`).join(", ") || "–"],
    ]} />
    ${!ended && why.data && html`<p class="panel" id="why"><strong>${t("Waiting for")}:</strong> ${why.data.why}</p>`}
    <div class="row">
      ${!ended && !found.paused && html`<${Act} does=${change({ paused: true })}>${t("Pause")}<//>`}
      ${found.paused?.reason === "held" && html`<${Act} kind="main" does=${change({ paused: false })}>${t("Resume")}<//>`}
      ${found.paused?.reason === "canary" && html`<${Act} kind="main" does=${change({ canary: null })}>${t("Confirm the canary")}<//>`}
      ${!ended && html`<${Act} kind="danger" confirm=${`${t("Cancel")}?`} does=${async () => {
        await send("DELETE", path);
        job.again();
      }}>${t("Cancel")}<//>`}
      ${ended && found.counts.failed > 0 && html`<${Act} does=${async () => {
        await send("POST", `${path}/retry`, {});
        job.again();
      }}>${t("Retry failed")}<//>`}
      ${found.output_file_id && html`<${Act} does=${() => download(`/v1/files/${found.output_file_id}/content`, `${id}.jsonl`)}>${t("Download")}<//>`}
      ${found.error_file_id && html`<${Act} does=${() => download(`/v1/files/${found.error_file_id}/content`, `${id}-errors.jsonl`)}>
        ${t("Download")}: ${t("Errors")}<//>`}
    </div>
    ${!ended && html`<div class="row">
      <label>${t("Priority")}<input type="number" min="-100" max="100" value=${priority} onInput=${(event) => setPriority(event.target.value)} /></label>
      <${Act} does=${change({ priority: Number(priority) })}>${t("Change priority")}<//>
      <label>${t("Endpoints")}<input value=${endpoints} onInput=${(event) => setEndpoints(event.target.value)} /></label>
      <${Act} does=${change({ endpoints: endpoints.split(",").map((each) => each.trim()).filter(Boolean) })}>${t("Change endpoints")}<//>
    </div>`}
    <${Errors} id=${id} failed=${found.counts.failed} />
    <${Lines} id=${id} total=${found.counts.total} changes=${found.counts.completed + found.counts.failed} />`;
}

const codeOf = (line) => line.error?.code || line.response?.body?.error?.code || line.response?.body?.error?.type || "error";
const messageOf = (line) => line.error?.message || line.response?.body?.error?.message || "";

function Errors({ id, failed }) {
  const { data, error } = usePolled(() => (failed ? lines(`/api/v1/jobs/${id}/results?status=failed&limit=200`) : { found: [] }), 0, [id, failed]);
  if (!failed || !data) return html`<${Failure} error=${error} />`;
  const groups = new Map();
  for (const line of data.found) groups.set(codeOf(line), [...(groups.get(codeOf(line)) || []), line]);
  return html`<h2>${t("Errors")}</h2><div class="scroll" tabindex="0" role="region" aria-label=${t("Errors")}><table id="errors"><tbody>
    ${[...groups].map(([code, found]) => html`<tr key=${code}><th>${code}</th><td class="number">${found.length}</td>
      <td class="text">${found[0].custom_id}: ${messageOf(found[0])}</td></tr>`)}
  </tbody></table></div>`;
}

function textOf(message) {
  const content = message?.content;
  if (typeof content === "string") return content;
  return Array.isArray(content) ? content.map((part) => part.text || `[${part.type}]`).join("\n") : "";
}

function promptOf(line) {
  const body = line.request?.body || line.request || {};
  return body.messages ? body.messages.map(textOf).join("\n\n") : JSON.stringify(body.prompt ?? body.input ?? "");
}

function answerOf(line) {
  if (!line) return "";
  if (line.error || (line.response && line.response.status_code !== 200)) return `${codeOf(line)}: ${messageOf(line)}`;
  const body = line.response?.body || {};
  return textOf(body.choices?.[0]?.message) || JSON.stringify(body.choices?.[0] ?? body.data ?? body.output ?? "").slice(0, 2000);
}

// Yields the lines of a page as they are found: with words, the server looks through a part of the job at a time.
async function* pageOf(id, total, { status, words }, place, signal) {
  const chosen = { with_input: true, ...(status && { status }), ...(words && { contains: words }) };
  let left = PAGE;
  while (place && left > 0) {
    const query = new URLSearchParams({ ...chosen, ...place, limit: left });
    const { found, searched } = await lines(`/api/v1/jobs/${id}/results?${query}`, { signal });
    left -= found.length;
    if (words) place = searched < total ? { start: searched } : null;
    else place = left ? null : { after: found[found.length - 1].id };
    yield { found, searched, place };
    if (!words) return;
  }
}

function Lines({ id, total, changes }) {
  const [status, setStatus] = useState("");
  const [words, setWords] = useState("");
  const [other, setOther] = useState("");
  const [found, setFound] = useState([]);
  const [next, setNext] = useState(null);
  const [searched, setSearched] = useState(0);
  const [others, setOthers] = useState({});
  const [problem, setProblem] = useState("");
  const [current, setCurrent] = useState(null);
  const load = async (from, signal) => {
    let before = from === START ? [] : found;
    try {
      for await (const part of pageOf(id, total, { status, words }, from, signal)) {
        if (signal.aborted) return;
        before = [...before, ...part.found];
        setFound(before);
        setNext(part.place);
        setSearched(part.searched);
      }
      setProblem("");
    } catch (error) {
      if (!signal.aborted) setProblem(error.message);
    }
  };
  useEffect(() => {
    const outdated = new AbortController();
    setCurrent(outdated);
    const timer = setTimeout(() => load(START, outdated.signal), words ? TYPING : 0);
    return () => {
      clearTimeout(timer);
      outdated.abort();
    };
  }, [id, status, words, Math.min(changes, PAGE)]);
  useEffect(() => {
    if (!other) return setOthers({});
    (async () => {
      for (const line of found.filter((each) => !(each.custom_id in others))) {
        const result = await get(`/api/v1/jobs/${other}/results/${encodeURIComponent(line.custom_id)}`).catch(() => null);
        setOthers((before) => ({ ...before, [line.custom_id]: answerOf(result) || "–" }));
      }
    })();
  }, [other, found.length]);
  return html`<h2>${t("Lines")}</h2>
    <div class="row">
      <label>${t("Status")}<select id="status" value=${status} onChange=${(event) => setStatus(event.target.value)}>
        <option value="">${t("All lines")}</option><option value="completed">${t("Only completed")}</option>
        <option value="failed">${t("Only failed")}</option></select></label>
      <label>${t("Contains")}<input id="words" value=${words} onInput=${(event) => setWords(event.target.value)} /></label>
      <label>${t("Compare with job")}<input id="other" value=${other} onChange=${(event) => setOther(event.target.value.trim())} /></label>
    </div>
    ${problem && html`<p class="error" role="alert">${problem}</p>`}
    <div class="scroll" tabindex="0" role="region" aria-label=${t("Lines")}><table id="lines">
      <thead><tr><th>custom_id</th><th>${t("Prompt")}</th><th>${t("Answer")}</th>${other && html`<th>${other.slice(0, 14)}</th>`}
        <th class="number">${t("Attempts")}</th></tr></thead>
      <tbody>${found.map((line) => html`<tr key=${line.id}><td>${line.custom_id}</td><td class="text">${promptOf(line).slice(0, 2000)}</td>
        <td class=${`text ${line.error ? "bad" : ""}`}>${answerOf(line).slice(0, 4000)}</td>
        ${other && html`<td class="text">${others[line.custom_id] || "…"}</td>`}<td class="number">${line.attempts ?? ""}</td></tr>`)}</tbody>
    </table></div>
    ${words && html`<p id="searched">${t("Lines searched")}: ${count(Math.min(searched, total))} / ${count(total)}</p>`}
    ${next && html`<p><${Act} does=${() => load(next, current.signal)}>${t("More")}<//></p>`}`;
}
