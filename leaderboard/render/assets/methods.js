// One method: its versions and settings, what it adds wherever it was measured, and the stacks that have it.
function methodNames() {
  return inOrder(boards.stacks.flatMap((stack) => stack.methods.map((step) => step.name))).sort();
}

const hasMethod = (stack, name) => boards.stacks[stack].methods.some((step) => step.name === name);
const lastMethod = (stack) => boards.stacks[stack].methods.at(-1)?.name;

function placeColumns() {
  return [
    {
      key: "network",
      label: "Network",
      text: true,
      kind: "stack",
      value: (one) => boards.networks[one.list.network].label,
      cell: (one) => named(boards.networks[one.list.network].label),
    },
    { key: "bits", label: "Bits", text: true, value: (one) => one.list.bits, order: (a, b) => bitOrder(a, b) },
    ...settingColumns(),
  ];
}

function drawMethods(view) {
  const steps = boards.lists.flatMap((list) =>
    list.steps.filter((one) => lastMethod(one.above) === state.method).map((one) => ({ ...one, list }))
  );
  const cells = boards.lists.flatMap((list) =>
    list.rows.filter((row) => hasMethod(row.stack, state.method)).map((row) => ({ ...row, list }))
  );
  if (steps.length) {
    const caption = [
      el("strong", {}, state.method),
      " as the last step of a stack, against the stack without it, at the same seeds and on the same images.",
      alteredNote(steps),
    ];
    view.append(section("What it adds", table("adds", caption, stepColumns(steps, placeColumns()), steps)));
  }
  view.append(
    section(
      "Stacks that have it",
      table(
        "stacks",
        [el("strong", {}, state.method), " in stacks, on every network and bit-width.", alteredNote(cells)],
        stackColumns(),
        cells,
        { heading: 0 }
      )
    )
  );
  view.append(section("Versions and settings", el("ul", { class: "plain" }, methodVersions(state.method))));
}

function stackColumns() {
  const to = (row) => ({
    view: "board",
    network: boards.networks[row.list.network].label,
    bits: row.list.bits,
    setting: boards.settings[row.list.setting],
    cell: row.label,
  });
  return [
    {
      key: "stack",
      label: "Stack",
      text: true,
      kind: "stack",
      value: (row) => row.label,
      cell: (row) => [link(named(row.label), to(row)), badge(row.mark)],
    },
    ...placeColumns(),
    { key: "rank", label: "Rank", value: (row) => row.rank?.[0], cell: rankCell, first: "up" },
    { key: "mean", label: "Top-1, %", kind: "strong", value: (row) => row.mean, cell: meanCell },
    { key: "delta", label: "To full precision", value: (row) => row.delta, cell: (row) => points(row.delta) },
    { key: "seconds", label: "Quantization time", value: (row) => row.seconds, cell: (row) => duration(row.seconds) },
  ];
}

function methodVersions(name) {
  const found = new Map();
  for (const stack of boards.stacks) {
    for (const step of stack.methods.filter((one) => one.name === name)) {
      const text = methodText(step);
      if (!found.has(text)) found.set(text, new Set());
      found.get(text).add(stack.label);
    }
  }
  return [...found].map(([text, stacks]) =>
    el(
      "li",
      {},
      el("pre", {}, text),
      el(
        "details",
        {},
        el("summary", {}, stacks.size === 1 ? "1 stack" : `${stacks.size} stacks`),
        el(
          "ul",
          {},
          [...stacks].map((one) => el("li", {}, named(one)))
        )
      )
    )
  );
}
