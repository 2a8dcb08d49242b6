// The data: compressed columns, read when they are first needed.
let boards = null;
let records = null;

async function unpack(id) {
  const element = byId(id);
  const text = atob(element.textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  element.textContent = "";
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

async function loadBoards() {
  boards = await unpack("boards");
  for (const list of boards.lists) for (const row of list.rows) row.label = boards.stacks[row.stack].label;
}

// One promise for all who ask, so that the element is read once.
let reading = null;
function loadRecords() {
  reading ??= unpack("records").then((columns) => {
    records = new Records(columns);
  });
  return reading;
}

class Records {
  constructor(columns) {
    this.columns = columns;
    this.length = columns.seed.length;
    this.names = Object.keys(columns);
    this.orders = new Map();
    const parts = ["stack", "id", "status", "model", "bits", "error_kind", "origin"];
    this.texts = Array.from({ length: this.length }, (_, i) =>
      parts
        .map((name) => this.get(name, i) ?? "")
        .join(" ")
        .toLowerCase()
    );
  }

  get(name, i) {
    const column = this.columns[name];
    if (Array.isArray(column)) return column[i];
    return column.at[i] < 0 ? null : column.texts[column.at[i]];
  }

  distinct(name) {
    const column = this.columns[name];
    if (!Array.isArray(column)) return column.texts;
    return [...new Set(column.filter(known))].sort((a, b) => (typeof a === "number" ? a - b : a < b ? -1 : 1)).map(String);
  }

  // All records by a column, lowest first and missing values last: sorted once, then only filtered.
  order(name) {
    if (this.orders.has(name)) return this.orders.get(name);
    const values = Array.from({ length: this.length }, (_, i) => this.get(name, i));
    const there = values.map((_, i) => i).filter((i) => known(values[i]));
    there.sort((a, b) => (values[a] < values[b] ? -1 : values[a] > values[b] ? 1 : 0));
    const found = { there, missing: values.map((_, i) => i).filter((i) => !known(values[i])) };
    this.orders.set(name, found);
    return found;
  }

  stages(i) {
    const { texts, at, seconds } = this.columns.stages;
    return at[i] < 0 || !texts[at[i]] ? [] : texts[at[i]].split("\n").map((name, place) => [name, seconds[i][place]]);
  }
}
