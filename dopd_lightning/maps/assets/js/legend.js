// What the colours say, and what they add up to.

function swatch(regime, theme) {
  const element = make("span", "swatch token", regimeOf(regime).name);
  if (regime < 0) element.dataset.unknown = "";
  else {
    element.dataset.regime = regimeOf(regime).name;
    paint(element, REGIME_COLOURS[theme][regime]);
  }
  return element;
}

function fillLegend(container, name, theme) {
  container.replaceChildren();
  if (name === "regime") {
    index.regimes.forEach(({ meaning }, regime) => {
      const entry = make("span", "entry");
      entry.append(swatch(regime, theme), make("span", "", meaning));
      container.append(entry);
    });
  } else if (name) {
    const scale = make("div", "scale");
    const bar = make("div", "ramp");
    bar.style.backgroundImage = `linear-gradient(to right, ${RAMPS[theme].join(", ")})`;
    const ticks = make("div", "ticks");
    for (const [position, text] of ticksOf(name)) {
      const tick = make("span", "", text);
      tick.style.left = `${100 * position}%`;
      ticks.append(tick);
    }
    scale.append(bar, ticks);
    container.append(scale, make("span", "quiet", index.quantities[name].meaning));
  }
}

function showTotals(container, step, response, theme) {
  container.replaceChildren();
  if (!step.regimes.some((regime) => regime >= 0)) return;
  const table = make("table");
  const sides = [
    ["This response", totals(step, response.start, response.end)],
    ["All at this step", (step.totals ??= totals(step, 0, step.ids.length))],
  ];
  const columns = [["share", "Tokens", percent]];
  for (const [name, label] of [
    ["gap", "Mean gap"],
    ["loss", "Mean loss"],
  ]) {
    if (step.numbers[name])
      columns.push([name, label, (value) => (Number.isNaN(value) ? "–" : written(value, step.bits, 2))]);
  }
  const head = table.createTHead();
  const groups = head.insertRow();
  groups.append(make("td"));
  const labels = head.insertRow();
  labels.append(Object.assign(make("th", "", "Regime"), { scope: "col" }));
  for (const [side] of sides) {
    groups.append(Object.assign(make("th", "side", side), { scope: "colgroup", colSpan: columns.length }));
    for (const [, label] of columns) labels.append(Object.assign(make("th", "", label), { scope: "col" }));
  }
  const body = table.createTBody();
  for (const regime of [...index.regimes.keys(), -1]) {
    if (!sides.some(([, rows]) => rows.has(regime))) continue;
    const row = body.insertRow();
    row.dataset.name = regimeOf(regime).name;
    const name = Object.assign(make("th"), { scope: "row", title: regimeOf(regime).meaning });
    name.append(swatch(regime, theme));
    row.append(name);
    for (const [, rows] of sides) {
      for (const [column, , write] of columns)
        row.append(make("td", "", rows.has(regime) ? write(rows.get(regime)[column]) : "–"));
    }
  }
  table.prepend(make("caption", "label", "Totals"));
  container.append(table);
}
