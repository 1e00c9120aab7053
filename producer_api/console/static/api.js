// The public API, asked with the key that was typed in. The key is kept for this tab only.

const KEY = "roadbalancer-key";

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) || "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

export async function ask(path, { method = "GET", body, headers = {}, signal } = {}) {
  const sent = { ...headers };
  if (key.get()) sent.authorization = `Bearer ${key.get()}`;
  let content = body;
  if (body !== undefined && !(body instanceof FormData)) {
    sent["content-type"] = "application/json";
    content = JSON.stringify(body);
  }
  const answer = await fetch(path, { method, headers: sent, body: content, signal });
  if (answer.ok) return answer;
  let message = `HTTP ${answer.status}`;
  try {
    message = (await answer.json()).error.message;
  } catch {
    // the answer is no error of this API: its status says what there is to say
  }
  throw new ApiError(answer.status, message);
}

export const get = async (path, options) => (await ask(path, options)).json();
export const send = async (method, path, body) => {
  const answer = await ask(path, { method, body });
  return answer.status === 204 ? null : answer.json();
};

// The lines of a job's results, and the number of the line up to which a text was looked for.
export async function lines(path, options) {
  const answer = await ask(path, options);
  const found = (await answer.text()).split("\n").filter(Boolean).map((line) => JSON.parse(line));
  return { found, searched: Number(answer.headers.get("x-roadbalancer-searched")) };
}

export async function download(path, name) {
  const blob = await (await ask(path)).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
