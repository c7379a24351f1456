"use strict";
// Draws the panels in the page's colours as they come into view, and hides groups in all of them at once.
const [labels, fields, panels] = ["labels", "fields", "panels"].map((id) => JSON.parse(document.getElementById(id).textContent));
const buttons = [...document.querySelectorAll("button.group")];
const drawn = new Map();

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const hidden = () => buttons.filter((b) => b.getAttribute("aria-pressed") === "false").map((b) => labels[b.dataset.group]);

function config() {
  const category = [];
  while (colour(`--group-${category.length}`)) category.push(colour(`--group-${category.length}`));
  return {
    background: "transparent",
    font: getComputedStyle(document.body).fontFamily,
    range: { category },
    view: { stroke: null },
    axis: {
      labelColor: colour("--quiet"), titleColor: colour("--quiet"), titleFontWeight: "normal",
      gridColor: colour("--faint"), domainColor: colour("--line"), tickColor: colour("--line"),
    },
  };
}

async function draw(place) {
  // ast: expressions are interpreted, not compiled, as the page allows no code but its own. logLevel: errors alone, as a
  // panel whose groups are all hidden warns that it has no extent.
  const options = {
    mode: "vega-lite", ast: true, logLevel: 1, actions: false, defaultStyle: false,
    tooltip: { disableDefaultStyle: true }, config: config(),
  };
  drawn.get(place)?.finalize();
  drawn.set(place, null);
  const { chart, points } = panels[place.dataset.panel];
  const rows = points.map(([group, ...rest]) => Object.fromEntries(fields.map((name, n) => [name, [labels[group], ...rest][n]])));
  const result = await vegaEmbed(place, { ...chart, datasets: { points: rows } }, options);
  drawn.set(place, result);
  await result.view.signal("hidden", hidden()).runAsync();
}

function show(group, shown) {
  group.setAttribute("aria-pressed", String(shown));
}

function update() {
  for (const result of drawn.values()) result?.view.signal("hidden", hidden()).runAsync();
}

for (const button of buttons) {
  button.addEventListener("click", () => {
    show(button, button.getAttribute("aria-pressed") === "false");
    update();
  });
}
for (const [id, shown] of [["all", true], ["none", false]]) {
  document.getElementById(id)?.addEventListener("click", () => {
    buttons.forEach((button) => show(button, shown));
    update();
  });
}

const watcher = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    watcher.unobserve(target);
    draw(target);
  }
}, { rootMargin: "400px" });
document.querySelectorAll(".chart").forEach((place) => watcher.observe(place));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => [...drawn.keys()].forEach(draw));
