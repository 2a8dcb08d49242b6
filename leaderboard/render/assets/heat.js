// Stacks by bit-widths (or by data and calibration): accuracy as a number, loss against full precision as a colour.
const LOSS_AT_FULL_COLOUR = 20;

function heatColumns() {
  const bySetting = state.across === "data and calibration";
  const lists = listsOf({ network: state.network, ...(bySetting ? { bits: state.bits } : { setting: state.setting }) });
  const name = (list) => (bySetting ? boards.settings[list.setting] : list.bits);
  const names = inOrder(lists.map(name));
  if (!bySetting) names.sort(bitOrder);
  return { names, lists: names.map((one) => lists.find((list) => name(list) === one)) };
}

function heatRows(lists) {
  const rows = new Map();
  lists.forEach((list, place) => {
    for (const row of list.rows) {
      if (!rows.has(row.stack)) rows.set(row.stack, { label: row.label, cells: [] });
      rows.get(row.stack).cells[place] = row;
    }
  });
  return [...rows.values()];
}

function heatCell(list, row) {
  if (!row) return el("span", { class: "missing" }, "–");
  const shade = Math.round(100 * Math.sqrt(Math.min(1, Math.max(0, -row.delta) / LOSS_AT_FULL_COLOUR)));
  const cell = link(
    [percent(row.mean), alteredSign(row), el("small", {}, points(row.delta)), badge(row.mark)],
    { view: "board", bits: list.bits, setting: boards.settings[list.setting], cell: row.label },
    { class: "heat" }
  );
  cell.style.setProperty("--shade", `${shade}%`);
  return cell;
}

function drawHeat(view) {
  const { names, lists } = heatColumns();
  const columns = [
    {
      key: "stack",
      label: "Stack",
      text: true,
      kind: "stack",
      value: (row) => row.label,
      cell: (row) => named(row.label),
      always: true,
    },
    ...names.map((name, place) => ({
      key: name,
      label: name,
      kind: "heated",
      value: (row) => row.cells[place]?.mean,
      cell: (row) => heatCell(lists[place], row.cells[place]),
    })),
  ];
  const full = inOrder(lists.map((list) => percent(list.full))).join(", ");
  const caption = [
    el("strong", {}, state.network),
    ` on ${state.across === "data and calibration" ? state.bits : state.setting}. Full precision: ${full} %. `,
    el(
      "small",
      {},
      "Mean top-1 in percent and the difference to full precision; the darker, the more is lost. A cell leads to its list.",
      alteredNote(lists.flatMap((list) => list.rows))
    ),
    scaleLegend(),
  ];
  view.append(table("heat", caption, columns, heatRows(lists), { sort: names[0], down: true, class: "heatmap" }));
}

function scaleLegend() {
  const steps = [0, 0.5, 2, 5, 10, LOSS_AT_FULL_COLOUR];
  return el(
    "span",
    { class: "scale" },
    "points lost: ",
    steps.map((loss) => {
      const one = el("span", { class: "heat" }, loss === LOSS_AT_FULL_COLOUR ? `${loss} or more` : String(loss));
      one.style.setProperty("--shade", `${Math.round(100 * Math.sqrt(loss / LOSS_AT_FULL_COLOUR))}%`);
      return one;
    })
  );
}
