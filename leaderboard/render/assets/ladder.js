// What each step adds, at the same seeds and on the same images.
function stepColumns(steps, more = []) {
  const scale = scaleOf(
    steps.map((one) => one.around),
    [0]
  );
  return [
    ...more,
    {
      key: "step",
      label: "Step",
      text: true,
      kind: "stack",
      value: (one) => one.step,
      cell: (one) => [named(one.step), alteredSign(one)],
    },
    {
      key: "below",
      label: "On top of",
      text: true,
      kind: "stack",
      value: (one) => boards.stacks[one.below].label,
      cell: (one) => named(boards.stacks[one.below].label),
    },
    {
      key: "adds",
      label: "Adds, points",
      kind: "strong",
      value: (one) => one.adds,
      cell: (one) => [points(one.adds), known(one.sd) ? ` ± ${percent(one.sd)}` : "", el("small", {}, ` (n=${one.seeds})`)],
    },
    {
      key: "around",
      label: "95 % interval",
      kind: "bars",
      value: (one) => one.around?.[1],
      cell: (one) => interval(one.around, scale, signedEnds, 0),
    },
    {
      key: "verdict",
      label: "Verdict",
      text: true,
      value: (one) => one.verdict,
      cell: (one) => el("span", { class: `verdict ${one.verdict.split(" ")[0]}` }, one.verdict),
    },
  ];
}

function ladderSection(list) {
  if (!list.steps.length) return null;
  const caption =
    "A stack against the stack without its last step, at the same seeds and on the same images: mean difference ± " +
    "standard deviation over seeds, with the interval over images and seeds.";
  return section("What each step adds", table("ladder", caption, stepColumns(list.steps), list.steps));
}
