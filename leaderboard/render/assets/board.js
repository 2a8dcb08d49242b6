// The ranked list of one network at one bit-width, the front below it, and what each step adds.
function boardColumns(list) {
  const scale = scaleOf(list.rows.filter((row) => !row.apart).map((row) => row.around));
  const number = (key, label, value, show, more = {}) => ({ key, label, value, cell: (row) => show(value(row)), ...more });
  return [
    {
      key: "rank",
      label: "Rank",
      kind: "rank",
      value: (row) => row.rank?.[0],
      cell: rankCell,
      first: "up",
      about: "by mean; in brackets the 95 % interval over images",
    },
    { key: "stack", label: "Stack", text: true, kind: "stack", value: (row) => row.label, cell: stackCell },
    {
      key: "mean",
      label: "Top-1, %",
      kind: "strong",
      value: (row) => row.mean,
      cell: meanCell,
      about: "mean ± standard deviation over seeds (number of seeds)",
    },
    {
      key: "around",
      label: "95 % interval",
      kind: "bars",
      value: (row) => row.around?.[1],
      about: "dashed: full precision",
      cell: (row) => interval(row.around, scale, endsText, list.full),
    },
    number("delta", "To full precision", (row) => row.delta, points, { short: "To fp32" }),
    {
      key: "published",
      label: "Published, %",
      kind: "published",
      value: (row) => (row.published.length ? boards.published[row.published[0][0]].top1 : null),
      cell: publishedCell,
    },
    {
      ...number("seconds", "Quantization time", (row) => row.seconds, duration, { short: "Time" }),
      cell: (row) => duration(row.seconds) + (row.busy ? " *" : ""),
    },
    number(
      "size",
      "Size, MB",
      (row) => row.size,
      (value) => (known(value) ? (value / 1e6).toFixed(2) : "–")
    ),
    number(
      "bitops",
      "Bit-operations, G",
      (row) => row.bitops,
      (value) => (known(value) ? significant(value / 1e9) : "–"),
      { wide: true, about: "what papers print; bit-operations do not rank latency" }
    ),
    number(
      "disk",
      "On disk, MB",
      (row) => row.disk,
      (value) => (known(value) ? (value / 1e6).toFixed(2) : "–"),
      { about: "bytes of the exported file" }
    ),
    {
      ...number("latency", "Latency, × float32", (row) => row.latency, fixed(2), { short: "Latency" }),
      cell: latencyCell,
      about: "time of the exported file over that of its float32 model, median and 95 % interval; below 1 is faster",
    },
    number("agreement", "Agreement, %", (row) => row.agreement, percent, {
      wide: true,
      about: "images on which the label is that of full precision",
    }),
    number("noise", "Agreement with itself, %", (row) => row.noise, percent, {
      wide: true,
      about: "images on which integer and float arithmetic give the same label, where that was measured",
    }),
  ];
}

function rankCell(row) {
  if (row.apart) return "–";
  const [rank, low, high] = row.rank ?? [null, null, null];
  if (!known(rank)) return "–";
  const tenths = (value) => String(Math.round(value * 10) / 10);
  return [tenths(rank), known(low) ? el("small", {}, ` [${tenths(low)} to ${tenths(high)}]`) : ""];
}

function stackCell(row) {
  const origins = row.origins.length
    ? el("span", { class: "badge", title: "not measured by this store" }, "measured elsewhere")
    : null;
  return [
    link(named(row.label), { cell: row.label }, { class: "open" }),
    badge(row.mark),
    row.apart ? el("span", { class: "badge apart" }, row.apart) : null,
    origins,
  ];
}

function meanCell(row) {
  const count = row.top1.length < row.expected ? `${row.top1.length}/${row.expected}` : `n=${row.top1.length}`;
  return [meanText(row), alteredSign(row), el("small", {}, ` (${count})`)];
}

function publishedCell(row) {
  if (!row.published.length) return "–";
  // Sources that say the same stand there once; the details name them all.
  const said = new Map(row.published.map(([number, verdict]) => {
    const one = boards.published[number];
    return [`${one.top1} ${one.method} ${verdict}`, { ...one, verdict }];
  }));
  return [...said.values()].map((one) =>
    el("span", { class: "line" }, percent(one.top1), el("small", {}, ` ${one.method}: ${one.verdict}`))
  );
}

function latencyCell(row) {
  if (!known(row.latency)) return "–";
  const [, low, high] = row.latencyAround;
  return [fixed(2)(row.latency) + (row.latencyBusy ? " *" : ""), el("small", {}, ` [${fixed(2)(low)} to ${fixed(2)(high)}]`)];
}

function listCaption(list) {
  const full = `Full precision: ${percent(list.full)} %.`;
  const over = inOrder(list.rows.map((row) => row.over).filter(Boolean)).join("; ");
  return [
    el("strong", {}, `${boards.networks[list.network].label}, ${list.bits}`),
    ` on ${boards.settings[list.setting]}. ${full} `,
    el(
      "small",
      {},
      "Mean ± standard deviation over seeds (number of seeds). ",
      `Intervals: 95 %${over ? `, over ${over}` : ""}; rank intervals over images. `,
      "≈ best: in the 95 % model confidence set, not shown to be worse than the best.",
      list.rows.some((row) => row.mark === "unknown") ? " ?: no per-image results to tell by." : "",
      list.rows.some((row) => row.busy || row.latencyBusy) ? " *: time measured on a busy machine." : "",
      alteredNote(list.rows),
      list.rows.some((row) => known(row.latency)) ? ` ${boards.latency}` : ""
    ),
  ];
}

function drawBoard(view) {
  const list = currentList();
  if (!list) return view.append(el("p", { class: "none" }, "No finished records: see the records."));
  view.append(
    table("ranking", listCaption(list), boardColumns(list), list.rows, {
      sort: "rank",
      heading: 1,
      rowClass: (row) => (row.apart ? "apart" : row.mark),
    }),
    paretoSection(list),
    ladderSection(list)
  );
  drawPareto(list);
}

function latencyText(row) {
  const [quantized, full] = row.latencyTimes.map(significant);
  return `${fixed(2)(row.latency)} × float32 (${quantized} ms for ${full} ms) on ${boards.texts[row.latencyOn]}`;
}

// The details of a row: what the cell is made of and what repeats it.
function cellDetails(list, row) {
  const stack = boards.stacks[row.stack];
  const published = row.published.map(([number, verdict, why]) => {
    const one = boards.published[number];
    return el(
      "li",
      {},
      `${percent(one.top1)} % as ${one.method}, ${one.source}${one.notes ? ` (${one.notes})` : ""}: `,
      `${verdict}${why ? `, ${why}` : ""}`
    );
  });
  const seeds = row.seeds.map((seed, i) =>
    el("li", {}, `seed ${seed}: ${percent(row.top1[i])} %, `, recordLink(row.records[i]))
  );
  return [
    pairs([
      ["Network", boards.networks[list.network].label],
      ["Measured on", `${list.bits}, ${boards.settings[list.setting]}`],
      ["Top-1", `${meanText(row)} %, 95 % interval ${endsText(row.around)}${row.over ? ` (over ${row.over})` : ""}`],
      ["To full precision", `${points(row.delta)} points`],
      ["Altered network", known(row.altered) ? `${boards.texts[row.altered]}: not the checkpoint's` : ""],
      ["Not ranked", row.apart],
      ["Quantization time", `${duration(row.seconds)} (${duration(row.spread[0])} to ${duration(row.spread[1])})`],
      ["Hardware", boards.texts[row.device]],
      ["Latency", known(row.latency) ? latencyText(row) : ""],
      ...row.beyond,
      ["Quantized", boards.texts[row.coverage]],
      ["Load per core", known(row.load) ? `${row.load.toFixed(1)}${row.busy ? ": times measured on a busy machine" : ""}` : ""],
      ["Commits", row.commits.map((number) => boards.texts[number].slice(0, 12)).join(", ")],
      ["From elsewhere", row.origins.map((number) => boards.texts[number]).join("; ")],
    ]),
    el("h3", {}, "Seeds and records"),
    el("ul", {}, seeds),
    row.analyses.length ? [el("h3", {}, "Pictures"), el("ul", {}, row.analyses.map(analysisItem))] : "",
    published.length ? [el("h3", {}, "Published"), el("ul", {}, published)] : "",
    el("h3", {}, "Repeat the first"),
    el("pre", {}, row.command),
    el("h3", {}, "Methods and settings"),
    el("pre", {}, stack.methods.map(methodText).join("\n")),
    el(
      "p",
      {},
      stack.methods.map((step, i) => [
        i ? ", " : "See method ",
        link(step.name, { view: "methods", method: step.name, cell: "", record: "" }),
      ])
    ),
  ];
}

// What harness report copied beside the page.
function analysisItem(id) {
  return el("li", {}, el("a", { href: `analyses/${id}/index.html` }, `loss landscape, values, attention of record ${id}`));
}

function methodText(step) {
  const value = (one) => (typeof one === "string" ? one : JSON.stringify(one));
  const settings = Object.entries(step.config ?? {}).map(([name, one]) => `${name}=${value(one)}`);
  return `${step.name}, version ${step.version ?? "?"}${settings.length ? `: ${settings.join(", ")}` : ""}`;
}
