// Parts that several pages use.

import { html, useEffect, useState } from "/console/vendor/htm-preact-3.1.1.js";
import { t } from "/console/words.js";

export { html, useEffect, useState };

// Loads something now and every few seconds; the page shows what was loaded last, and the error if there was one.
export function usePolled(load, seconds, needs = []) {
  const [state, setState] = useState({ data: null, error: null });
  const [round, setRound] = useState(0);
  useEffect(() => {
    let gone = false;
    let timer = 0;
    const look = async () => {
      try {
        const data = await load();
        if (!gone) setState({ data, error: null });
      } catch (error) {
        if (!gone) setState((before) => ({ ...before, error }));
      }
      if (!gone && seconds) timer = setTimeout(look, seconds * 1000);
    };
    look();
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, [...needs, round]);
  return { ...state, again: () => setRound(round + 1) };
}

// A button that does something, is disabled meanwhile, and shows what went wrong.
export function Act({ does, children, kind = "", confirm: question = "", label }) {
  const [state, setState] = useState({ busy: false, error: "" });
  const run = async () => {
    if (question && !window.confirm(question)) return;
    setState({ busy: true, error: "" });
    try {
      await does();
      setState({ busy: false, error: "" });
    } catch (error) {
      setState({ busy: false, error: error.message });
    }
  };
  return html`<span><button type="button" class=${kind} disabled=${state.busy} aria-label=${label} onClick=${run}>${children}</button>
    ${state.error && html`<span class="error" role="alert"> ${state.error}</span>`}</span>`;
}

export const Failure = ({ error }) => error && html`<p class="error" role="alert">${error.message}</p>`;

export const money = (usd) => (usd === null || usd === undefined ? "–" : `$${usd.toFixed(usd && usd < 1 ? 6 : 2)}`);
export const count = (number) => (number ?? 0).toLocaleString("en");
export const when = (seconds) => (seconds ? new Date(seconds * 1000).toLocaleString() : "–");
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// A small plot of numbers over time, drawn without a library: a line and perhaps a dashed limit.
export function Plot({ values, limits = [], label }) {
  const most = Math.max(1e-9, ...values, ...limits);
  const points = (numbers) =>
    numbers.map((value, index) => `${(100 * index) / Math.max(1, numbers.length - 1)},${30 - (28 * value) / most}`).join(" ");
  if (values.length < 2) return null;
  return html`<svg class="plot" viewBox="0 0 100 31" preserveAspectRatio="none" role="img" aria-label=${label}>
    ${limits.length > 1 && html`<polyline class="limit" points=${points(limits)} />`}
    <polyline points=${points(values)} />
  </svg>`;
}

export const Facts = ({ of }) =>
  html`<dl class="facts">${of.map(([name, value]) => html`<div><dt>${t(name)}</dt><dd>${value}</dd></div>`)}</dl>`;
