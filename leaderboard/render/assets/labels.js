// Where labels of points go: never over a marker, another label or the edge; further away with a line where there is no room
// beside the marker; nowhere if there is none at all (the table below the picture has every point).
const RING = [0, 180, 270, 90, 315, 225, 45, 135, 340, 200, 20, 160, 290, 250];
const DISTANCES = [10, 18, 30, 46, 66, 90, 120];

const overlaps = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
const inside = (a, b) => a.x >= b.x && a.y >= b.y && a.x + a.width <= b.x + b.width && a.y + a.height <= b.y + b.height;

// The box of a label at an angle and distance from its point: the side that faces the point touches the circle.
function boxAt(one, angle, distance) {
  const [dx, dy] = [Math.cos((angle * Math.PI) / 180), Math.sin((angle * Math.PI) / 180)];
  const x = one.x + dx * distance - (one.width * (1 - dx)) / 2;
  const y = one.y + dy * distance - (one.height * (1 - dy)) / 2;
  return { x, y, width: one.width, height: one.height };
}

// labels: { x, y, width, height }; markers: boxes; edge: the box that labels stay in. Gives a box or null for each.
function placeLabels(labels, markers, edge) {
  const placed = [];
  return labels.map((one) => {
    for (const distance of DISTANCES) {
      for (const angle of RING) {
        const box = boxAt(one, angle, distance);
        if (
          !inside(box, edge) ||
          markers.some((other) => overlaps(box, other)) ||
          placed.some((other) => overlaps(box, other))
        )
          continue;
        placed.push(box);
        return { ...box, leader: distance > 18 };
      }
    }
    return null;
  });
}

let ruler = null;
function textWidth(text, size) {
  ruler ??= document.createElement("canvas").getContext("2d");
  ruler.font = `${size}px ${getComputedStyle(document.body).fontFamily}`;
  return ruler.measureText(text).width;
}

// A name in lines of at most so many pixels, broken before "+" or after ",".
function linesOf(text, size, most) {
  const lines = [""];
  for (const part of text.split(/(?=\+)|(?<=,)/)) {
    if (lines.at(-1) && textWidth(lines.at(-1) + part, size) > most) lines.push(part);
    else lines[lines.length - 1] += part;
  }
  return lines;
}
