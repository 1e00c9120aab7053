// CSV and TSV files as lines of requests (RFC 4180).

export const isTable = (name) => /\.(csv|tsv)$/i.test(name);

export function rows(text) {
  const separator = text.slice(0, 2000).split("\n")[0].includes("\t") ? "\t" : ",";
  const found = [];
  let row = [];
  let cell = "";
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const sign = text[i];
    if (quoted) {
      if (sign === '"' && text[i + 1] === '"') cell += text[++i];
      else if (sign === '"') quoted = false;
      else cell += sign;
    } else if (sign === '"') quoted = true;
    else if (sign === separator) {
      row.push(cell);
      cell = "";
    } else if (sign === "\n") {
      row.push(cell.replace(/\r$/, ""));
      found.push(row);
      row = [];
      cell = "";
    } else cell += sign;
  }
  if (quoted) throw new Error("a quoted field of the file has no end");
  if (cell || row.length) found.push([...row, cell]);
  return found.filter((each) => each.length > 1 || each[0] !== "");
}

export function csvLines(text, template, model) {
  const [head, ...body] = rows(text.replace(/^\uFEFF/, ""));
  if (!head) throw new Error("the file is empty");
  const unknown = [...template.matchAll(/\{([^{}]+)\}/g)].map((match) => match[1]).filter((name) => !head.includes(name));
  if (unknown.length) throw new Error(`the file has no column ${unknown.join(", ")}; it has ${head.join(", ")}`);
  return body
    .map((row, index) => {
      const prompt = template.replace(/\{([^{}]+)\}/g, (_, name) => row[head.indexOf(name)] ?? "");
      const request = { messages: [{ role: "user", content: prompt }], ...(model ? { model } : {}) };
      return JSON.stringify({ custom_id: `row-${index + 1}`, method: "POST", url: "/v1/chat/completions", body: request }) + "\n";
    })
    .join("");
}
