// Every record: filter, sort, open. The texts that the search looks through are made once, orders are sorted once.
const FILTERS = [
  ["model", "Network"],
  ["bits", "Bit-width"],
  ["data", "Data"],
  ["calib", "Calibration images"],
  ["calib_source", "Images from"],
  ["status", "Status"],
];
const RECORD_COLUMNS = [
  ["id", "Record", "text"],
  ["stack", "Stack", "text stack"],
  ["model", "Network", "text stack wide"],
  ["bits", "Bits", "text"],
  ["calib", "Images", "number wide"],
  ["seed", "Seed", "number"],
  ["top1", "Top-1, %", "number strong"],
  ["top1_fp32", "Full precision, %", "number wide"],
  ["agreement", "Agreement, %", "number wide"],
  ["seconds_stack", "Time", "number"],
  ["size_bytes", "Size, MB", "number wide"],
  ["status", "Status", "text"],
];
const RECORD_SHOW = {
  top1: percent,
  top1_fp32: percent,
  agreement: percent,
  seconds_stack: duration,
  size_bytes: (value) => (known(value) ? (value / 1e6).toFixed(2) : "–"),
};

async function drawRecords(view) {
  const box = el("div", { id: "record-table" });
  view.append(
    el("div", { class: "filters", role: "search", "aria-label": "Filter records" }, el("p", {}, "reading the records …")),
    el("p", { id: "count", role: "status" }),
    box
  );
  await loadRecords();
  if (!box.isConnected) return;
  const search = el("input", {
    id: "search",
    type: "search",
    value: state.q ?? "",
    placeholder: "stack, id, status, network",
    autocomplete: "off",
    spellcheck: "false",
    oninput: searched,
  });
  view
    .querySelector(".filters")
    .replaceChildren(el("label", { class: "q" }, "Search", search), ...FILTERS.map(filterSelect).filter(Boolean));
  drawRecordTable();
}

function filterSelect([name, label]) {
  const values = records.distinct(name);
  if (values.length < 2) return null;
  const select = el(
    "select",
    { id: `filter-${name}`, onchange: (event) => go({ [`r.${name}`]: event.target.value, "found.page": "" }) },
    el("option", { value: "" }, "all"),
    values.map((value) => el("option", { value, selected: state[`r.${name}`] === value }, value))
  );
  return el("label", {}, label, select);
}

function searched(event) {
  remember({ q: event.target.value, "found.page": "" });
  drawn = below();
  drawRecordTable();
}

function chosenRecords() {
  const words = (state.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = FILTERS.map(([name]) => [name, state[`r.${name}`]]).filter(([, value]) => value);
  const [key, direction] = (state["found.sort"] ?? "top1.down").split(".");
  const { there, missing } = records.order(records.names.includes(key) ? key : "top1");
  const kept = (i) =>
    words.every((word) => records.texts[i].includes(word)) &&
    wanted.every(([name, value]) => String(records.get(name, i)) === value);
  const first = there.filter(kept);
  if (direction === "down") first.reverse();
  return [...first, ...missing.filter(kept)];
}

function drawRecordTable() {
  const found = chosenRecords();
  const columns = RECORD_COLUMNS.map(([key, label, kind]) => ({
    key,
    label,
    text: kind.startsWith("text"),
    wide: kind.endsWith("wide"),
    kind: kind.includes("stack") ? "stack" : kind.includes("strong") ? "strong" : "",
    always: true,
    value: (i) => records.get(key, i),
    cell: (i) => recordCell(key, i),
  }));
  const order = {
    sort: columns.find((one) => one.key === (state["found.sort"] ?? "top1.down").split(".")[0]),
    down: !(state["found.sort"] ?? "").endsWith(".up"),
  };
  const box = el(
    "div",
    { class: "table" },
    ...tableParts(
      "found",
      "Records: every one that was run, also failed ones. The id opens all that a record says.",
      columns,
      found,
      order,
      { rowClass: (i) => records.get("status", i) }
    )
  );
  byId("record-table").replaceChildren(box);
  byId("count").textContent = `${found.length.toLocaleString("en")} of ${records.length.toLocaleString("en")} records`;
}

function recordCell(key, i) {
  const value = records.get(key, i);
  if (key === "id") return link(value.slice(0, 8), { record: value });
  if (key === "stack" && records.names.includes("altered") && known(records.get("altered", i)))
    return [named(value), el("abbr", { title: `altered network: ${records.get("altered", i)}` }, boards.altered.sign)];
  if (key === "stack" || key === "model") return known(value) ? named(value) : "–";
  if (key === "status" && known(records.get("error_kind", i))) return `${value}: ${records.get("error_kind", i)}`;
  return RECORD_SHOW[key] ? RECORD_SHOW[key](value) : known(value) ? String(value) : "–";
}

// A link to a record by its number: its id is known once the records are read.
function recordLink(number) {
  const one = el("a", { href: address({}) }, `record ${number + 1}`);
  loadRecords().then(() => {
    const id = records.get("id", number);
    one.textContent = id;
    one.href = address({ record: id });
  });
  return one;
}
