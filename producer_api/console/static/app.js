// The console: its pages by the part of the address after #, and the key that it asks with.

import { render } from "/console/vendor/htm-preact-3.1.1.js";
import { get, key } from "/console/api.js";
import { Fleet } from "/console/fleet.js";
import { Job } from "/console/job.js";
import { Jobs, NewJob } from "/console/jobs.js";
import { html, useEffect, useState } from "/console/parts.js";
import { Playground } from "/console/playground.js";
import { Keys, Usage, Workers } from "/console/system.js";
import { language, t } from "/console/words.js";

const PAGES = { jobs: ["Jobs", Jobs], fleet: ["Fleet", Fleet], usage: ["Usage", Usage], keys: ["Keys", Keys],
  play: ["Playground", Playground], workers: ["Workers", Workers] };

function App() {
  const [place, setPlace] = useState(location.hash.slice(2) || "jobs");
  const [door, setDoor] = useState("unknown");
  const [, setLanguage] = useState(language.get());
  const look = async () => {
    try {
      await get("/api/v1/jobs?limit=1");
      setDoor("open");
    } catch (error) {
      setDoor(error.status === 401 ? "closed" : "open");
    }
  };
  useEffect(() => {
    const moved = () => setPlace(location.hash.slice(2) || "jobs");
    addEventListener("hashchange", moved);
    look();
    return () => removeEventListener("hashchange", moved);
  }, []);
  useEffect(() => {
    document.documentElement.lang = language.get();
  });
  const [name, id] = place.split("/");
  const Page = PAGES[name]?.[1];
  return html`<header><strong>Roadbalancer</strong>
      <nav aria-label="Roadbalancer">${door === "open" && Object.entries(PAGES).map(([each, [words]]) =>
        html`<a key=${each} href=${`#/${each}`} aria-current=${name === each ? "page" : null}>${t(words)}</a>`)}
        <a href="/docs">API</a></nav>
      <label>${t("Language")}<select id="language" value=${language.get()} onChange=${(event) => {
        language.set(event.target.value);
        setLanguage(event.target.value);
      }}><option value="en">English</option><option value="ko">한국어</option></select></label>
      ${key.get() && html`<button type="button" onClick=${() => {
        key.set("");
        setDoor("unknown");
        look();
      }}>${t("Sign out")}</button>`}
    </header>
    <main>${door === "closed" ? html`<${SignIn} again=${look} />`
      : door === "open" && (name === "new" ? html`<${NewJob} />` : name === "jobs" && id ? html`<${Job} key=${id} id=${id} />` : Page ? html`<${Page} />` : html`<h1>404</h1>`)}</main>`;
}

function SignIn({ again }) {
  const [value, setValue] = useState("");
  const [wrong, setWrong] = useState(false);
  const enter = async (event) => {
    event.preventDefault();
    key.set(value);
    try {
      await get("/api/v1/jobs?limit=1");
      again();
    } catch {
      key.set("");
      setWrong(true);
    }
  };
  return html`<h1>${t("Sign in")}</h1><p>${t("This server asks for an API key.")}</p>
    <form onSubmit=${enter}><label>${t("API key")}<input id="key" type="password" autocomplete="current-password" required
      value=${value} onInput=${(event) => setValue(event.target.value)} /></label>
      <button class="main">${t("Sign in")}</button></form>
    ${wrong && html`<p class="error" role="alert">401</p>`}`;
}

render(html`<${App} />`, document.getElementById("app"));
