// The list of jobs, and a new one.

import { ask, get, send } from "/console/api.js";
import { csvLines, isTable } from "/console/tables.js";
import { Failure, count, duration, html, money, usePolled, useState, when } from "/console/parts.js";
import { t } from "/console/words.js";

export function Jobs() {
  const { data, error } = usePolled(() => get("/api/v1/jobs?limit=50"), 2);
  return html`<h1>${t("Jobs")}</h1>
    <p><a href="#/new">${t("New job")}</a></p>
    <${Failure} error=${error} />
    ${data && !data.data.length && html`<p class="faint">${t("Nothing here yet.")}</p>`}
    ${data && data.data.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label=${t("Jobs")}><table>
      <thead><tr><th>${t("Name")}</th><th>${t("Status")}</th><th>${t("Done")}</th><th class="number">${t("Failed")}</th>
        <th class="number">${t("Cost")}</th><th class="number">${t("Left")}</th><th>${t("Created")}</th></tr></thead>
      <tbody>${data.data.map((job) => html`<tr key=${job.id}>
        <td><a href=${`#/jobs/${job.id}`}>${job.metadata?.name || job.id.slice(0, 14)}</a></td>
        <td><${State} job=${job} /></td>
        <td><progress value=${job.progress} max="1" aria-label=${t("Done")}></progress> ${count(job.counts.completed)}/${count(job.counts.total)}</td>
        <td class=${`number ${job.counts.failed ? "bad" : ""}`}>${count(job.counts.failed)}</td>
        <td class="number">${money(job.cost.usd)}</td><td class="number">${duration(job.eta)}</td>
        <td>${when(job.timestamps.created_at)}</td></tr>`)}</tbody></table></div>`}`;
}

export function State({ job }) {
  if (job.paused) return html`<span class="warn">paused (${job.paused.reason})</span>`;
  const kind = { completed: "good", failed: "bad", expired: "warn", cancelled: "warn" }[job.status] || "";
  return html`<span class=${kind}>${job.status}</span>`;
}

export function NewJob() {
  const [template, setTemplate] = useState("");
  const [model, setModel] = useState("");
  const [file, setFile] = useState(null);
  const [found, setFound] = useState(null);
  const [problem, setProblem] = useState("");
  const [canary, setCanary] = useState("");
  const [priceClass, setPriceClass] = useState("");
  const models = usePolled(() => get("/v1/models"), 0);

  const upload = async (event) => {
    event.preventDefault();
    setProblem("");
    setFound(null);
    try {
      let content = file;
      if (isTable(file.name)) content = new Blob([csvLines(await file.text(), template, model)]);
      const form = new FormData();
      form.append("purpose", "batch");
      form.append("file", content, file.name.replace(/\.[^.]*$/, "") + ".jsonl");
      const uploaded = await (await ask("/v1/files", { method: "POST", body: form })).json();
      setFound({ file: uploaded, estimate: await send("POST", "/api/v1/estimates", { input_file_id: uploaded.id }) });
    } catch (error) {
      setProblem(error.message);
    }
  };
  const start = async () => {
    setProblem("");
    try {
      const wanted = { input_file_id: found.file.id, metadata: { name: file.name.slice(0, 60) } };
      if (canary) wanted.canary = { lines: Number(canary) };
      if (priceClass) wanted.price_class = priceClass;
      const job = await send("POST", "/api/v1/jobs", wanted);
      location.hash = `#/jobs/${job.id}`;
    } catch (error) {
      setProblem(error.message);
    }
  };
  return html`<h1>${t("New job")}</h1>
    <form class="panel" onSubmit=${upload}>
      <label>${t("File")} (JSONL, CSV)<input id="file" type="file" accept=".jsonl,.csv,.tsv" required
        onChange=${(event) => setFile(event.target.files[0] || null)} /></label>
      ${file && isTable(file.name) && html`<label>${t("Prompt with {columns} of a CSV file")}
        <input id="template" size="40" required value=${template} onInput=${(event) => setTemplate(event.target.value)} /></label>
        <label>${t("Model")}<select id="model" value=${model} onChange=${(event) => setModel(event.target.value)}>
          <option value="">–</option>${models.data?.data.map((each) => html`<option>${each.id}</option>`)}</select></label>`}
      <button class="main" disabled=${!file}>${t("Upload")}</button>
    </form>
    ${problem && html`<p class="error" role="alert">${problem}</p>`}
    ${found && html`<section class="panel" id="estimate"><h2>${t("Estimate")}</h2>
      <p>${`${count(found.estimate.lines)} ${t("Lines")}, ${count(found.estimate.input_tokens)} + ${count(found.estimate.output_tokens)} ${t("Tokens")}, ${duration(found.estimate.seconds)}`}</p>
      <table><thead><tr><th>${t("Price class")}</th><th class="number">${t("Cost")}</th></tr></thead>
        <tbody>${found.estimate.classes.map((each) => html`<tr><td>${each.price_class}</td>
          <td class="number">${each.unpriced_lines ? "≥ " : ""}${money(each.cost)}</td></tr>`)}</tbody></table>
      <div class="row">
        <label>${t("Start with a canary of")}<input id="canary" type="number" min="1" value=${canary} onInput=${(event) => setCanary(event.target.value)} /></label>
        <label>${t("Price class")}<select id="class" value=${priceClass} onChange=${(event) => setPriceClass(event.target.value)}>
          ${["", "standard", "flex", "batch", "cheapest"].map((each) => html`<option value=${each}>${each || "–"}</option>`)}</select></label>
        <button class="main" type="button" onClick=${start}>${t("Start")}</button>
      </div></section>`}`;
}
