// What colours mean, and which text can be read on them.

// Regimes differ in lightness as well as in hue, and each has an underline of its own (page.css).
const REGIME_COLOURS = {
  light: ["#dde8f0", "#f5dc82", "#e5823e", "#5d5bb5"],
  dark: ["#2b3946", "#8a7526", "#e58a4b", "#a9a6f5"],
};

// From the page's own colour to what stands out most from it.
const RAMPS = {
  light: ["#f6f3ec", "#f7d9a4", "#ee9a5f", "#cf4f4b", "#8b1f56", "#43104f"],
  dark: ["#1d2027", "#402a4f", "#7c2f5f", "#c14a52", "#ef8b4c", "#fbe08d"],
};

// Whether a step has the numbers for a quantity.
function isKnown(step, name) {
  return (name === "loss_share" ? "loss" : name) in step.numbers;
}

// The colourings that a step has the numbers for, with their labels.
function colouringsOf(step) {
  const found = new Map();
  if (step.regimes.some((regime) => regime >= 0)) found.set("regime", "Regime");
  for (const name of index.colours) if (isKnown(step, name)) found.set(name, index.quantities[name].colouring);
  return found;
}

// Where a value stands on its scale, from 0 to 1: the square root makes room for the many small ones.
function onScale(name, value) {
  if (index.quantities[name].kind === "probability") return 1 - Math.min(value, 1);
  const largest = index.quantities[name].scale || 1;
  return Math.sqrt(Math.min(Math.max(value, 0) / largest, 1));
}

// Values to write below the scale, and where.
function ticksOf(name) {
  if (index.quantities[name].kind === "probability")
    return [
      [0, "1"],
      [0.5, "0.5"],
      [1, "0"],
    ];
  const largest = index.quantities[name].scale || 1;
  const write =
    name === "loss_share" ? (value) => percent(value) : (value) => value.toPrecision(2).replace(/\.?0+$/, "");
  return [
    [0, "0"],
    [0.5, write(largest / 4)],
    [1, `≥ ${write(largest)}`],
  ];
}

function ramp(position, theme) {
  const stops = RAMPS[theme];
  const at = position * (stops.length - 1);
  const below = Math.min(Math.floor(at), stops.length - 2);
  const [from, to] = [channels(stops[below]), channels(stops[below + 1])];
  return hex(from.map((channel, which) => channel + (to[which] - channel) * (at - below)));
}

function channels(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

function hex(rgb) {
  return `#${rgb.map((channel) => Math.round(channel).toString(16).padStart(2, "0")).join("")}`;
}

// Relative luminance, as in WCAG 2.
function luminance(colour) {
  const [red, green, blue] = channels(colour)
    .map((channel) => channel / 255)
    .map((channel) => (channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

// Black or white, whichever contrasts more: at least 4.5 to 1 on any colour.
function textOn(colour) {
  return luminance(colour) > 0.179 ? "#000000" : "#ffffff";
}

function paint(element, colour) {
  element.style.backgroundColor = colour;
  element.style.color = textOn(colour);
}
