// The fleet: how each endpoint is, and changes of it.

import { get, send } from "/console/api.js";
import { Act, Facts, Failure, Plot, count, html, usePolled, useState } from "/console/parts.js";
import { t } from "/console/words.js";

async function load() {
  const { data } = await get("/api/v1/endpoints");
  const history = await Promise.all(data.map((each) => get(`/api/v1/endpoints/${encodeURIComponent(each.name)}/history`)));
  return data.map((each, index) => ({ ...each, history: history[index].data }));
}

const perMinute = (samples, field) =>
  samples.slice(1).map((each, index) => (60 * Math.max(0, each[field] - samples[index][field])) / Math.max(1, each.at - samples[index].at));

export function Fleet() {
  const fleet = usePolled(load, 3);
  const [fields, setFields] = useState({ url: "", name: "", models: "", weight: "" });
  const set = (name) => (event) => setFields({ ...fields, [name]: event.target.value });
  const add = async () => {
    const settings = { url: fields.url };
    if (fields.name) settings.name = fields.name;
    if (fields.models) settings.models = fields.models.split(",").map((each) => each.trim()).filter(Boolean);
    if (fields.weight) settings.weight = Number(fields.weight);
    await send("POST", "/api/v1/endpoints", settings);
    setFields({ url: "", name: "", models: "", weight: "" });
    fleet.again();
  };
  return html`<h1>${t("Fleet")}</h1><${Failure} error=${fleet.error} />
    <div id="fleet">${fleet.data?.map((each) => html`<${Card} key=${each.name} endpoint=${each} again=${fleet.again} />`)}</div>
    <h2>${t("Add")}</h2>
    <div class="row">
      <label>${t("Address")}<input id="url" value=${fields.url} placeholder="http://gpu5:8000/v1" onInput=${set("url")} /></label>
      <label>${t("Name")}<input id="name" value=${fields.name} onInput=${set("name")} /></label>
      <label>${t("Models")}<input value=${fields.models} onInput=${set("models")} /></label>
      <label>${t("Weight")}<input type="number" min="0" step="any" value=${fields.weight} onInput=${set("weight")} /></label>
      <${Act} kind="main" does=${add}>${t("Add")}<//>
    </div>`;
}

function Card({ endpoint, again }) {
  const [weight, setWeight] = useState(String(endpoint.weight));
  const [limit, setLimit] = useState("");
  const path = `/api/v1/endpoints/${encodeURIComponent(endpoint.name)}`;
  const change = (fields) => async () => {
    await send("PATCH", path, fields);
    again();
  };
  const [kind, state] = endpoint.draining ? ["warn", "draining"] : endpoint.usable ? ["good", "healthy"] : ["bad", "failing"];
  const samples = endpoint.history;
  const settings = { weight: Number(weight), ...(limit ? { max_concurrency: Number(limit) } : {}) };
  return html`<section class="panel" aria-label=${endpoint.name}>
    <h2>${endpoint.name} <span class=${kind}>${t(state)}</span></h2>
    <p class="faint">${endpoint.url} · ${endpoint.provider} · ${endpoint.models.join(", ") || "*"}</p>
    <${Facts} of=${[
      ["In flight", html`${endpoint.in_flight}/${endpoint.max_concurrency}<${Plot} label=${`${t("Last hour")}: ${t("In flight")}`}
        values=${samples.map((each) => each.in_flight)} limits=${samples.map((each) => each.limit)} />`],
      ["Requests", html`${count(endpoint.ok)}<${Plot} label=${`${t("Last hour")}: ${t("Requests")}`} values=${perMinute(samples, "ok")} />`],
      ["Failed", html`${count(endpoint.failed)}<${Plot} label=${`${t("Last hour")}: ${t("Failed")}`} values=${perMinute(samples, "failed")} />`],
      ["Latency", html`${endpoint.latency === null ? "–" : `${endpoint.latency.toFixed(2)} s`}<${Plot} label=${`${t("Last hour")}: ${t("Latency")}`}
        values=${samples.map((each) => each.latency ?? 0)} />`],
    ]} />
    ${endpoint.last_error && html`<p class="bad">${endpoint.last_error}</p>`}
    <div class="row">
      <label>${t("Weight")}<input type="number" min="0" step="any" value=${weight} onInput=${(event) => setWeight(event.target.value)} /></label>
      <label>${t("Max in flight")}<input type="number" min="1" value=${limit} onInput=${(event) => setLimit(event.target.value)} /></label>
      <${Act} does=${change(settings)} label=${`${t("Change")} ${endpoint.name}`}>${t("Change")}<//>
      ${endpoint.draining
        ? html`<${Act} does=${change({ draining: false })} label=${`${t("Use again")} ${endpoint.name}`}>${t("Use again")}<//>`
        : html`<${Act} does=${change({ draining: true })} label=${`${t("Drain")} ${endpoint.name}`}>${t("Drain")}<//>`}
      <${Act} kind="danger" label=${`${t("Remove")} ${endpoint.name}`} confirm=${`${t("Remove")} ${endpoint.name}?`} does=${async () => {
        await send("DELETE", path);
        again();
      }}>${t("Remove")}<//>
    </div></section>`;
}
