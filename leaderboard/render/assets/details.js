// The dialog: a cell of a list or a record. What it shows stands in the address, so Back closes it.
async function showDetails() {
  const dialog = byId("details");
  const made = state.record ? await recordDetails(state.record) : state.cell ? rowDetails(state.cell) : null;
  if (!made) {
    if (dialog.open) dialog.close();
    return;
  }
  const close = button("Close", () => dialog.close(), { class: "close" });
  dialog.replaceChildren(
    el("div", { class: "top" }, el("h2", { id: "details-title" }, named(made.title)), close),
    el("div", { class: "body" }, made.content)
  );
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

// Escape and the button close the dialog alike: the address follows.
byId("details").addEventListener("close", () => {
  if (state.record || state.cell) go({ record: "", cell: "" });
});

function rowDetails(label) {
  const list = currentList();
  const row = list?.rows.find((one) => one.label === label);
  return row ? { title: row.label, content: cellDetails(list, row) } : null;
}

async function recordDetails(id) {
  await loadRecords();
  const i = records.order("id").there.find((place) => records.get("id", place) === id);
  if (i === undefined) return { title: `There is no record ${id} here`, content: "" };
  const value = (name) => records.get(name, i);
  const stages = records.stages(i).map(([name, seconds]) => `${(seconds ?? 0).toFixed(2).padStart(10)} s  ${name}`);
  const facts = records.names
    .filter((name) => !["stages", "command", "methods", "id", "stack"].includes(name))
    .map((name) => [name, known(value(name)) ? String(value(name)) : ""]);
  return {
    title: value("stack") ?? id,
    content: [
      el("h3", {}, "Repeat it"),
      el("pre", {}, `${value("command") ?? ""}\nharness run --trial ${id}`),
      el("h3", {}, "Time by stage"),
      el("pre", {}, stages.join("\n") || "–"),
      el("h3", {}, "All that it says"),
      pairs([["id", id], ...facts]),
      el("h3", {}, "Methods and settings"),
      el("pre", {}, value("methods") ?? "–"),
    ],
  };
}
