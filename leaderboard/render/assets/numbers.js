// Numbers as people read them. Nothing is averaged here: means, intervals and ranks come with the data.
const known = (value) => value !== null && value !== undefined;
const fixed = (digits) => (value) => (known(value) ? value.toFixed(digits) : "–");
const percent = fixed(2);
const whole = (value) => value.toLocaleString("en");

function points(value) {
  return known(value) ? (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2) : "–";
}

function duration(seconds) {
  if (!known(seconds)) return "–";
  if (seconds < 100) return `${seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
  return seconds < 6000 ? `${(seconds / 60).toFixed(1)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

const UNITS = {
  seconds: { label: "Quantization time", axis: "quantization time, s", scale: 1, show: duration, log: true },
  size: {
    label: "Model size",
    axis: "model size, MB",
    scale: 1e-6,
    show: (value) => (known(value) ? `${significant(value / 1e6)} MB` : "–"),
  },
  bitops: {
    label: "Bit-operations",
    axis: "bit-operations per image, G",
    scale: 1e-9,
    show: (value) => (known(value) ? `${significant(value / 1e9)} G` : "–"),
  },
  latency: { label: "Latency", axis: "latency, × float32", scale: 1, show: fixed(2) },
  disk: {
    label: "Bytes on disk",
    axis: "file on disk, MB",
    scale: 1e-6,
    show: (value) => (known(value) ? `${significant(value / 1e6)} MB` : "–"),
  },
};

function significant(value) {
  if (value === 0) return "0";
  return Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
}

const meanText = (row) => `${percent(row.mean)}${known(row.sd) ? ` ± ${percent(row.sd)}` : ""}`;
const endsText = (around) => (known(around?.[1]) ? `${percent(around[1])} to ${percent(around[2])}` : "–");
const signedEnds = (around) => (known(around?.[1]) ? `${points(around[1])} to ${points(around[2])}` : "–");

// w8a8 before w4a8 before w4a4.
function bitOrder(a, b) {
  const parts = (bits) => (bits.match(/\d+(\.\d+)?/g) ?? []).map(Number);
  const [x, y] = [parts(a), parts(b)];
  for (let i = 0; i < Math.max(x.length, y.length); i++) if ((x[i] ?? 0) !== (y[i] ?? 0)) return (y[i] ?? 0) - (x[i] ?? 0);
  return a < b ? -1 : a > b ? 1 : 0;
}

// Ticks at 1, 2 or 5 times a power of ten; on a logarithmic axis at 1, 2, 5 of each decade.
function ticks(low, high, most) {
  const raw = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= raw) ?? 10);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

// Tick labels that differ: as many decimals as their distance needs.
function tickText(values) {
  const step = Math.min(...values.slice(1).map((value, i) => value - values[i]), Infinity);
  const digits = step === Infinity ? 3 : Math.max(0, Math.min(6, -Math.floor(Math.log10(step) + 1e-9)));
  return values.map((value) => value.toLocaleString("en", { maximumFractionDigits: digits }));
}

function logTicks(low, high, most) {
  for (const factors of [[1, 2, 5], [1, 3], [1]]) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const factor of factors) found.push(Number((factor * 10 ** power).toPrecision(6)));
    }
    const inside = found.filter((value) => value >= low && value <= high);
    if (inside.length <= most || factors.length === 1) return inside.length > 1 ? inside : ticks(low, high, 4);
  }
  return [];
}
