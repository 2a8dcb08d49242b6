// One network: what it is, the best set at each bit-width, and everything that is published of it.
function drawNetworks(view) {
  const network = boards.networks.find((one) => one.label === state.network);
  const lists = listsOf({ network: state.network });
  view.append(
    pairs([
      ["Name", network.model],
      ["Full precision", inOrder(lists.map((list) => `${percent(list.full)} %`)).join(", ")],
      ["Weights", network.weights ? network.weights.slice(0, 16) : ""],
      ["Preprocessing", network.preprocessing],
    ])
  );
  view.append(
    section(
      "The best at each bit-width",
      table(
        "bests",
        bestCaption(lists),
        bestColumns(),
        lists.map((list) => ({ list })).sort((a, b) => bitOrder(a.list.bits, b.list.bits))
      )
    )
  );
  const published = boards.published.filter((one) => one.model === network.published);
  if (published.length)
    view.append(
      section(
        "Published accuracies",
        table(
          "published",
          "Every published value of this network at the bit-widths measured here; sources that disagree are all shown.",
          publishedColumns(),
          published,
          { heading: 0 }
        )
      )
    );
  const runtimes = boards.runtimes.filter((one) => one.model === network.published);
  if (runtimes.length)
    view.append(
      section(
        "Published runtimes",
        table(
          "runtimes",
          "On the hardware of their authors: not comparable with times measured here.",
          runtimeColumns(),
          runtimes
        )
      )
    );
}

const bestCaption = (lists) => [
  el("strong", {}, state.network),
  ": the best mean of each list, and the stacks that are not shown to be worse.",
  alteredNote(lists.flatMap((list) => list.rows.filter((row) => ["best", "tied"].includes(row.mark)))),
];

function bestColumns() {
  const best = (one) => one.list.rows.find((row) => row.mark === "best");
  const tied = (one) => one.list.rows.filter((row) => row.mark === "tied");
  const to = (one) => ({
    view: "board",
    network: state.network,
    bits: one.list.bits,
    setting: boards.settings[one.list.setting],
  });
  return [
    {
      key: "bits",
      label: "Bits",
      text: true,
      value: (one) => one.list.bits,
      order: (a, b) => bitOrder(a, b),
      cell: (one) => link(one.list.bits, to(one)),
    },
    ...settingColumns(),
    {
      key: "best",
      label: "Best",
      text: true,
      kind: "stack",
      value: (one) => best(one)?.label,
      cell: (one) => (best(one) ? named(best(one).label) : "–"),
    },
    {
      key: "mean",
      label: "Top-1, %",
      kind: "strong",
      value: (one) => best(one)?.mean,
      cell: (one) => (best(one) ? meanCell(best(one)) : "–"),
    },
    { key: "delta", label: "To full precision", value: (one) => best(one)?.delta, cell: (one) => points(best(one)?.delta) },
    {
      key: "tied",
      label: "Also in the best set",
      text: true,
      kind: "stack",
      value: (one) => (tied(one).length ? tied(one).length : null),
      cell: (one) =>
        tied(one).length ? tied(one).map((row) => el("span", { class: "line" }, named(row.label), alteredSign(row))) : "–",
    },
    { key: "stacks", label: "Stacks", value: (one) => one.list.rows.length },
  ];
}

function publishedColumns() {
  return [
    { key: "method", label: "Method", text: true, value: (one) => one.method },
    { key: "bits", label: "Bits", text: true, value: (one) => one.bits, order: (a, b) => bitOrder(a, b) },
    { key: "top1", label: "Top-1, %", kind: "strong", value: (one) => one.top1, cell: (one) => percent(one.top1) },
    { key: "source", label: "Source", text: true, kind: "stack", value: (one) => one.source },
    { key: "notes", label: "Notes", text: true, kind: "stack", value: (one) => one.notes || null },
  ];
}

function runtimeColumns() {
  return [
    { key: "method", label: "Method", text: true, value: (one) => one.method },
    { key: "minutes", label: "Minutes", kind: "strong", value: (one) => one.minutes },
    { key: "hardware", label: "Hardware", text: true, kind: "stack", value: (one) => one.hardware },
    { key: "source", label: "Source", text: true, kind: "stack", value: (one) => one.source },
    { key: "notes", label: "Notes", text: true, kind: "stack", value: (one) => one.notes || null },
  ];
}
