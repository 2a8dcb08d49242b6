"use strict";
// Every text goes into the page through textContent or Plotly's escaped strings: names cannot become markup.
const records = JSON.parse(document.getElementById("records").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const byId = (id) => document.getElementById(id);
const PAGE = 200;
const FILTERS = ["model", "bits", "data", "calib", "calib_source"];
const COLUMNS = [
  ["id", "trial", "text"], ["stack", "stack", "text"], ["model", "model", "text"], ["bits", "bits", "text"], ["calib", "calib", "number"], ["calib_source", "from", "text"],
  ["seed", "seed", "number"], ["top1", "top-1 %", "percent"], ["top1_fp32", "fp32 %", "percent"],
  ["agreement", "agreement %", "percent"], ["seconds_stack", "seconds", "number"], ["size_bytes", "MB", "mega"],
  ["protocol", "protocol", "text"], ["status", "status", "text"],
];
const AXES = [["seconds_stack", "time of the stack, s"], ["size_bytes", "model size, bytes"], ["bit_operations", "bit-operations per image"]];
const state = { sort: "top1", down: true, shown: PAGE };

function option(select, value, label) {
  const item = document.createElement("option");
  item.value = value;
  item.textContent = label;
  select.append(item);
}

function distinct(field) {
  return [...new Set(records.map((r) => r[field]).filter((v) => v !== null))].sort((a, b) => (typeof a === "number" ? a - b : String(b).localeCompare(String(a))));
}

function setUp() {
  for (const field of FILTERS) {
    option(byId(field), "", "all");
    for (const value of distinct(field)) option(byId(field), String(value), String(value));
    byId(field).addEventListener("change", () => draw(true));
  }
  for (const [field, label] of AXES) option(byId("axis"), field, label);
  byId("axis").addEventListener("change", () => draw(false));
  byId("search").addEventListener("input", () => draw(true));
  byId("more").addEventListener("click", () => { state.shown += PAGE; drawTable(chosen()); });
  const head = document.createElement("tr");
  for (const [field, label, kind] of COLUMNS) {
    const cell = document.createElement("th");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", () => sortBy(field, kind));
    cell.append(button);
    cell.dataset.field = field;
    if (kind === "text") cell.className = "text";
    head.append(cell);
  }
  document.querySelector("#table thead").append(head);
  const done = records.filter((r) => r.status === "done").length;
  byId("summary").textContent = `${records.length} records, ${done} done; networks: ${distinct("model").length}, stacks: ${distinct("stack").length}`;
  dark.addEventListener("change", () => draw(false));
}

function sortBy(field, kind) {
  state.down = state.sort === field ? !state.down : kind !== "text";
  state.sort = field;
  drawTable(chosen());
}

function chosen() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const kept = records.filter((r) =>
    FILTERS.every((field) => !byId(field).value || String(r[field]) === byId(field).value) &&
    words.every((word) => `${r.stack} ${r.id} ${r.status} ${r.model} ${r.error_kind ?? ""}`.toLowerCase().includes(word)));
  return kept;
}

function shown(value, kind) {
  if (value === null || value === undefined) return "-";
  if (kind === "percent") return value.toFixed(2);
  if (kind === "mega") return (value / 1e6).toFixed(2);
  return typeof value === "number" && !Number.isInteger(value) ? value.toFixed(1) : String(value);
}

function drawTable(rows) {
  const { sort, down } = state;
  const sorted = [...rows].sort((a, b) => {
    const [x, y] = [a[sort], b[sort]];
    if (x === null || y === null) return (x === null) - (y === null);
    const order = typeof x === "number" ? x - y : String(x).localeCompare(String(y));
    return down ? -order : order;
  });
  for (const cell of document.querySelectorAll("#table th")) {
    const own = cell.dataset.field === sort;
    cell.setAttribute("aria-sort", own ? (down ? "descending" : "ascending") : "none");
  }
  const body = document.querySelector("#table tbody");
  body.replaceChildren(...sorted.slice(0, state.shown).map(tableRow));
  byId("count").textContent = `${rows.length} of ${records.length} records`;
  byId("more").hidden = sorted.length <= state.shown;
}

function tableRow(record) {
  const row = document.createElement("tr");
  row.className = record.status;
  for (const [field, , kind] of COLUMNS) {
    const cell = document.createElement("td");
    if (kind === "text") cell.className = field === "stack" ? "text stack" : "text";
    if (field === "id") {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = record.id.slice(0, 8);
      button.addEventListener("click", () => openTrial(record));
      cell.append(button);
    } else {
      cell.textContent = shown(record[field], kind);
    }
    row.append(cell);
  }
  return row;
}

function openTrial(record) {
  const list = document.createElement("dl");
  const facts = { id: record.id, ...record };
  for (const [name, value] of Object.entries(facts)) {
    if (value === null || ["stages", "command"].includes(name)) continue;
    const term = document.createElement("dt");
    const text = document.createElement("dd");
    term.textContent = name;
    text.textContent = String(value);
    list.append(term, text);
  }
  const heading = document.createElement("h2");
  heading.textContent = record.stack;
  const command = document.createElement("pre");
  command.textContent = `${record.command}\nharness run --trial ${record.id}`;
  const stages = document.createElement("pre");
  stages.textContent = record.stages.map(([name, seconds]) => `${seconds.toFixed(2).padStart(10)} s  ${name}`).join("\n");
  byId("details").replaceChildren(heading, command, stages, list);
  byId("trial").showModal();
}

// Plotly reads a few HTML tags and %{names} in texts: their brackets are written as entities.
const safe = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("%{", "&#37;{");
const short = (text) => safe(text.length > 46 ? `${text.slice(0, 22)}…${text.slice(-22)}` : text);
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const deviation = (values) => (values.length < 2 ? 0 : Math.sqrt(values.reduce((s, v) => s + (v - mean(values)) ** 2, 0) / (values.length - 1)));

function grouped(rows, key) {
  const groups = new Map();
  for (const row of rows) {
    const name = key(row);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(row);
  }
  return [...groups.values()];
}

function layout(x, y, more = {}) {
  const ink = getComputedStyle(document.body).color;
  const line = getComputedStyle(document.documentElement).getPropertyValue("--line");
  const axis = { gridcolor: line, zerolinecolor: line, automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: 11 }, showlegend: false,
    margin: { l: 48, r: 12, t: 8, b: 40 }, hovermode: "closest",
    xaxis: { ...axis, title: { text: x }, ...more.xaxis }, yaxis: { ...axis, title: { text: y }, ...more.yaxis }, ...more.rest,
  };
}

function plot(id, traces, shape) {
  Plotly.react(id, traces, shape, { responsive: true, displayModeBar: false });
}

function tooltip(rows, field) {
  const [first] = rows;
  return [
    `<b>${short(first.stack)}</b>`, safe(`${first.model}, ${first.bits}, ${first.calib} images from ${first.calib_source}, n=${rows.length}`),
    safe(`top-1 ${mean(rows.map((r) => r.top1)).toFixed(2)} %, ${field} ${mean(rows.map((r) => r[field])).toPrecision(4)}`),
    safe(`measured on ${first.device ?? "?"}`), safe(`harness run --trial ${first.id.slice(0, 8)}`),
  ].join("<br>");
}

function isFront(point, points) {
  return !points.some((o) => o.x <= point.x && o.y >= point.y && (o.x < point.x || o.y > point.y));
}

function drawPareto(rows) {
  const field = byId("axis").value;
  const usable = rows.filter((r) => r.status === "done" && r[field] !== null && r.top1 !== null);
  // A front is drawn within one network, bit-width, data and hardware only.
  const place = (r) => [r.model, r.bits, r.data, r.calib_source, r.n_images, field === "seconds_stack" ? r.device : ""].join("|");
  const traces = [];
  for (const part of grouped(usable, place)) {
    const points = grouped(part, (r) => `${r.stack}|${r.calib}`).map((g) => ({
      x: mean(g.map((r) => r[field])), y: mean(g.map((r) => r.top1)), sd: deviation(g.map((r) => r.top1)), rows: g }));
    const competing = points.filter((p) => p.rows[0].stack !== "fp32" && p.rows[0].protocol === "strict");
    for (const point of points) point.front = competing.includes(point) && isFront(point, competing);
    const front = points.filter((p) => p.front).sort((a, b) => a.x - b.x);
    traces.push({ x: front.map((p) => p.x), y: front.map((p) => p.y), mode: "lines", line: { shape: "hv", width: 1, color: "#3a9a5a" }, hoverinfo: "skip" });
    traces.push({
      x: points.map((p) => p.x), y: points.map((p) => p.y), mode: "markers", type: "scatter",
      error_y: { array: points.map((p) => p.sd), thickness: 1, width: 2, color: "#8a8f96" },
      marker: { size: 8, color: points.map((p) => (p.front ? "#3a9a5a" : "#8a8f96")), symbol: points.map((p) => (competing.includes(p) ? "circle" : "circle-open")) },
      text: points.map((p) => tooltip(p.rows, field)), hoverinfo: "text", customdata: points.map((p) => p.rows[0].id) });
  }
  const label = AXES.find(([name]) => name === field)[1];
  plot("pareto", traces, layout(label, "top-1, %", { xaxis: { type: field === "seconds_stack" ? "log" : "linear" } }));
  byId("pareto").removeAllListeners?.("plotly_click");
  byId("pareto").on("plotly_click", (event) => {
    const record = records.find((r) => r.id === event.points[0].customdata);
    if (record) openTrial(record);
  });
}

function drawLines(id, rows, field, label) {
  const usable = rows.filter((r) => r.status === "done" && r.top1 !== null);
  const traces = grouped(usable, (r) => `${r.stack}|${r.model}|${r.bits}|${r.calib_source}|${field === "seed" ? r.calib : ""}`).slice(0, 60).map((group) => {
    const points = grouped(group, (r) => r[field]).sort((a, b) => a[0][field] - b[0][field]);
    const name = safe(`${group[0].stack}, ${group[0].bits}, ${group[0].model}, ${group[0].calib_source}`);
    return {
      x: points.map((p) => p[0][field]), y: points.map((p) => mean(p.map((r) => r.top1))), mode: "lines+markers", name,
      error_y: { array: points.map((p) => deviation(p.map((r) => r.top1))), thickness: 1, width: 2 },
      hovertemplate: `${name}<br>${label} %{x}: %{y:.2f} %<extra></extra>` };
  });
  plot(id, traces, layout(label, "top-1, %", { xaxis: { tickvals: [...new Set(usable.map((r) => r[field]))].slice(0, 20) } }));
}

function drawStages(rows) {
  const done = rows.filter((r) => r.status === "done");
  const groups = grouped(done, (r) => r.stack).slice(0, 24);
  const names = [...new Set(groups.flatMap((g) => g.flatMap((r) => r.stages.map(([name]) => name))))];
  const traces = names.map((name) => ({
    type: "bar", orientation: "h", name: safe(name), y: groups.map((g) => short(g[0].stack)),
    x: groups.map((g) => mean(g.map((r) => r.stages.filter(([n]) => n === name).reduce((s, [, t]) => s + t, 0)))),
    hovertemplate: `${safe(name)}: %{x:.2f} s<extra></extra>` }));
  const rest = { barmode: "stack", showlegend: true, legend: { orientation: "h", y: -0.3 }, margin: { l: 48, r: 12, t: 8, b: 100 } };
  plot("stages", traces, layout("", "", { rest }));
}

function draw(reset) {
  if (reset) state.shown = PAGE;
  const rows = chosen();
  drawTable(rows);
  drawPareto(rows);
  drawLines("calibration", rows, "calib", "calibration images");
  drawLines("seeds", rows, "seed", "seed");
  drawStages(rows);
}

setUp();
draw(true);
