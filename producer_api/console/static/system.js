// Usage, API keys, workers.

import { get, send } from "/console/api.js";
import { Act, Failure, count, html, money, usePolled, useState, when } from "/console/parts.js";
import { t } from "/console/words.js";

const GROUPS = { day: "Day", model: "Model", key: "Key", endpoint: "Endpoints", tier: "Class", source: "State" };

export function Usage() {
  const [by, setBy] = useState("day");
  const usage = usePolled(() => get(`/api/v1/usage?by=${by}`), 5, [by]);
  return html`<h1>${t("Usage")}</h1>
    <div class="row"><label>${t("Group by")}<select id="by" value=${by} onChange=${(event) => setBy(event.target.value)}>
      ${Object.entries(GROUPS).map(([name, words]) => html`<option value=${name}>${name === "source" ? name : t(words)}</option>`)}</select></label></div>
    <${Failure} error=${usage.error} />
    <div class="scroll" tabindex="0" role="region" aria-label=${t("Usage")}><table id="usage"><thead><tr><th>${by}</th><th class="number">${t("Requests")}</th>
      <th class="number">${t("Failed")}</th><th class="number">${t("Input")}</th><th class="number">${t("Output")}</th><th class="number">${t("Cost")}</th></tr></thead>
      <tbody>${usage.data?.data.map((row) => html`<tr key=${row[by]}><td>${row[by] || "–"}</td><td class="number">${count(row.requests)}</td>
        <td class="number">${count(row.errors)}</td><td class="number">${count(row.tokens.input)}</td><td class="number">${count(row.tokens.output)}</td>
        <td class="number">${row.cost === null ? "–" : money(row.cost)}</td></tr>`)}</tbody></table></div>`;
}

const NO_FIELDS = { name: "", models: "", rpm: "", budget_day: "", days: "" };
const DAY = 86400;

export function Keys() {
  const keys = usePolled(() => get("/api/v1/keys"), 5);
  const [fields, setFields] = useState(NO_FIELDS);
  const [secret, setSecret] = useState("");
  const set = (name) => (event) => setFields({ ...fields, [name]: event.target.value });
  const limits = () => {
    const found = {};
    if (fields.rpm) found.rpm = Number(fields.rpm);
    if (fields.budget_day) found.budget_day = Number(fields.budget_day);
    if (fields.days) found.retention = Math.round(Number(fields.days) * DAY);
    return found;
  };
  const models = () => fields.models.split(",").map((each) => each.trim()).filter(Boolean);
  const create = async () => {
    const made = await send("POST", "/api/v1/keys", { name: fields.name, models: models(), limits: limits() });
    setSecret(made.secret);
    setFields(NO_FIELDS);
    keys.again();
  };
  const act = (work) => async () => {
    const made = await work();
    if (made?.secret) setSecret(made.secret);
    keys.again();
  };
  const shown = (found) => Object.entries(found).filter(([, value]) => value !== null)
    .map(([name, value]) => (name === "retention" ? `${t("Days kept")} ${value / DAY}` : `${name} ${value}`)).join(", ") || "–";
  return html`<h1>${t("Keys")}</h1><${Failure} error=${keys.error} />
    <div class="row">
      <label>${t("Name")}<input id="key-name" value=${fields.name} onInput=${set("name")} /></label>
      <label>${t("Models")}<input value=${fields.models} onInput=${set("models")} /></label>
      <label>${t("Requests a minute")}<input type="number" min="1" value=${fields.rpm} onInput=${set("rpm")} /></label>
      <label>${t("USD a day")}<input type="number" min="0" step="any" value=${fields.budget_day} onInput=${set("budget_day")} /></label>
      <label>${t("Days kept")}<input id="key-days" type="number" min="0" step="any" value=${fields.days} onInput=${set("days")} /></label>
      <${Act} kind="main" does=${create}>${t("Create")}<//>
    </div>
    ${secret && html`<p class="panel" role="status">${t("The secret is shown this once only:")} <code id="secret">${secret}</code></p>`}
    <div class="scroll" tabindex="0" role="region" aria-label=${t("Keys")}><table id="keys"><thead><tr><th>${t("Name")}</th><th>${t("State")}</th><th>${t("Created")}</th>
      <th>${t("Models")}</th><th>${t("Limits")}</th><th>${t("Change")}</th></tr></thead>
      <tbody>${keys.data?.data.map((each) => html`<tr key=${each.id}><td>${each.name}</td><td>${t(each.revoked ? "revoked" : "in use")}</td>
        <td>${when(each.created_at)}</td><td>${each.models.join(", ") || t("All")}</td><td>${shown(each.limits)}</td>
        <td><div class="row">${!each.revoked && html`
          <${Act} label=${`${t("Limits")} ${each.name}`} does=${act(() => send("PATCH", `/api/v1/keys/${each.id}`, { limits: { ...each.limits, ...limits() } }))}>${t("Limits")}<//>
          <${Act} label=${`${t("Rotate")} ${each.name}`} does=${act(() => send("POST", `/api/v1/keys/${each.id}/rotate`, {}))}>${t("Rotate")}<//>
          <${Act} kind="danger" label=${`${t("Revoke")} ${each.name}`} confirm=${`${t("Revoke")} ${each.name}?`}
            does=${act(() => send("DELETE", `/api/v1/keys/${each.id}`))}>${t("Revoke")}<//>`}
          <${Act} kind="danger" label=${`${t("Delete data")} ${each.name}`} confirm=${`${t("Delete data")} ${each.name}?`}
            does=${act(() => send("DELETE", `/api/v1/keys/${each.id}/data`))}>${t("Delete data")}<//></div></td></tr>`)}</tbody></table></div>`;
}

export function Workers() {
  const info = usePolled(() => get("/api/v1/system/info"), 3);
  return html`<h1>${t("Workers")}</h1><${Failure} error=${info.error} />
    <p><a href=${`http://${location.hostname}:5555`}>Flower</a></p>
    <div class="scroll" tabindex="0" role="region" aria-label=${t("Workers")}><table id="workers"><thead><tr><th>${t("Process")}</th><th>${t("Endpoints")}</th></tr></thead>
      <tbody>${info.data?.workers.map((each) => html`<tr key=${each.process}><td>${each.process}</td><td>${each.endpoints.join(", ")}</td></tr>`)}</tbody>
    </table></div>
    ${info.data && html`<p class="faint">Roadbalancer ${info.data.version}, ${info.data.redis.server} ${info.data.redis.version}</p>`}`;
}
