// Tables: a caption, sorting with aria-sort, pages of rows, columns without any value left out. On narrow screens rows
// become cards by style; the roles keep what a screen reader says of them.
const PAGE = 50;

// columns: { key, label, value(row) to sort and to know whether it is there, cell(row) to show, text, wide, about }
function table(id, caption, columns, rows, options = {}) {
  const used = columns.filter(
    (column) => column.always || rows.some((row) => known(column.value(row)) && column.value(row) !== "")
  );
  const { sort, down } = chosenSort(id, used, options);
  const sorted = sort ? sortRows(rows, sort, down) : rows;
  const box = el("div", { class: "table", id: `${id}-box` });
  box.append(...tableParts(id, caption, used, sorted, { sort, down }, options));
  return box;
}

function tableParts(id, caption, columns, sorted, order, options) {
  const last = Math.max(1, Math.ceil(sorted.length / PAGE));
  const page = Math.min(last, Math.max(1, Number(state[`${id}.page`]) || 1));
  const shown = sorted.slice((page - 1) * PAGE, page * PAGE);
  const head = el(
    "tr",
    { role: "row" },
    columns.map((column) => headCell(id, column, order, options))
  );
  const body = shown.map((row, place) => bodyRow(columns, row, options, (page - 1) * PAGE + place + 2));
  const grid = el(
    "table",
    { id, role: "table", class: options.class, "aria-rowcount": sorted.length + 1 },
    el("caption", {}, caption),
    el("thead", { role: "rowgroup" }, head),
    el("tbody", { role: "rowgroup" }, body)
  );
  return [
    grid,
    sorted.length ? null : el("p", { class: "none" }, "nothing here"),
    pager(id, page, last, sorted.length),
  ].filter(Boolean);
}

function headCell(id, column, { sort, down }, options) {
  const own = sort === column;
  const next = own ? !down : !column.text && column.first !== "up";
  const changes = { [`${id}.sort`]: `${column.key}${next ? ".down" : ".up"}`, [`${id}.page`]: "" };
  const label = options.fixed
    ? column.label
    : button(column.label, () => (options.onsort ?? go)(changes), { class: "sort", title: column.about });
  return el(
    "th",
    {
      role: "columnheader",
      scope: "col",
      class: kinds(column),
      "data-key": column.key,
      "aria-sort": options.fixed ? null : own ? (down ? "descending" : "ascending") : "none",
    },
    label
  );
}

const kinds = (column) => [column.text ? "text" : "number", column.wide ? "wide" : "", column.kind ?? ""].join(" ").trim();

function bodyRow(columns, row, options, index) {
  return el(
    "tr",
    { role: "row", "aria-rowindex": index, class: options.rowClass?.(row) },
    columns.map((column, place) => {
      const heading = place === (options.heading ?? 0);
      return el(
        heading ? "th" : "td",
        {
          role: heading ? "rowheader" : "cell",
          scope: heading ? "row" : null,
          class: kinds(column),
          "data-label": column.short ?? column.label,
        },
        column.cell ? column.cell(row) : known(column.value(row)) ? String(column.value(row)) : "–"
      );
    })
  );
}

function chosenSort(id, columns, options) {
  const [key, direction] = (state[`${id}.sort`] ?? "").split(".");
  const found = columns.find((column) => column.key === key);
  if (found) return { sort: found, down: direction === "down" };
  const usual = columns.find((column) => column.key === options.sort);
  return { sort: usual, down: Boolean(options.down) };
}

function sortRows(rows, column, down) {
  const there = rows.filter((row) => known(column.value(row)));
  const order = (x, y) => (typeof x === "number" ? x - y : x < y ? -1 : x > y ? 1 : 0);
  there.sort((a, b) => (down ? -1 : 1) * (column.order ?? order)(column.value(a), column.value(b)));
  return [...there, ...rows.filter((row) => !known(column.value(row)))];
}

function pager(id, page, last, count) {
  if (last === 1) return null;
  const turn = (to, label) =>
    button(label, () => go({ [`${id}.page`]: to === 1 ? "" : to }), { disabled: to < 1 || to > last, "data-to": label });
  const range = `${whole((page - 1) * PAGE + 1)} to ${whole(Math.min(count, page * PAGE))} of ${whole(count)}`;
  return el(
    "nav",
    { class: "pager", "aria-label": "Pages of the table" },
    turn(page - 1, "previous"),
    el("span", {}, range),
    turn(page + 1, "next")
  );
}

// The column that tells settings apart, where there are several.
function settingColumns() {
  if (boards.settings.length < 2) return [];
  const value = (one) => boards.settings[one.list.setting];
  return [{ key: "setting", label: "Data and calibration", text: true, kind: "stack", value }];
}
