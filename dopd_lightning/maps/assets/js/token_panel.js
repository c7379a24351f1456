// What is known of one token.

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function tokenOf(vocabulary, id) {
  return vocabulary.get(id) ?? { text: `<id ${id}>`, bytes: "", length: 0 };
}

function regimeOf(regime) {
  return index.regimes[regime] ?? { name: "none", meaning: "the rule gives it no regime" };
}

function hexadecimal(token) {
  const bytes = Array.from(token.bytes, (byte) => byte.charCodeAt(0).toString(16).padStart(2, "0")).join(" ");
  return token.length > token.bytes.length ? `${bytes} … (${token.length.toLocaleString("en")} bytes)` : bytes;
}

function showRecord(container, step, response, position, vocabulary) {
  container.replaceChildren();
  if (position === null) {
    container.append(
      make("p", "quiet", "Point at a token, or walk through them with the arrow keys, to see its record."),
    );
    return;
  }
  const at = response.start + position;
  const token = tokenOf(vocabulary, step.ids[at]);
  const part = step.parts.get(at);

  const heading = make("h2", "token-text");
  heading.append(make("bdi", "", (part ?? token).text || "(empty)"));
  const list = make("dl");
  const add = (name, label, value, kind) => {
    const term = make("dt", kind, label);
    const description = make("dd", kind, value);
    description.dataset.name = name;
    list.append(term, description);
  };
  add("position", "Position", `${position + 1} of ${response.tokens}`);
  add("id", "Token id", String(step.ids[at]));
  if (part) add("part", "Part of a character", part.note);
  if (step.regimes.some((regime) => regime >= 0)) {
    const { name, meaning } = regimeOf(step.regimes[at]);
    add("regime", "Regime", `${name}: ${meaning}`, "wide");
  }
  for (const name of index.record.filter((name) => isKnown(step, name))) {
    const value = valuesOf(step, response, name)[position];
    const { label, meaning } = index.quantities[name];
    add(name, label, name === "loss_share" ? percent(value, step.bits) : written(value, step.bits));
    list.lastChild.previousSibling.title = meaning;
  }
  container.append(heading, list);
  const alternatives = step.alternatives(at);
  if (alternatives?.length) container.append(showAlternatives(alternatives, step.ids[at], vocabulary));
  const bytes = make("details", "bytes");
  bytes.append(make("summary", "label", "Bytes"), make("code", "", hexadecimal(token) || "none"));
  container.append(bytes);
}

function showAlternatives(alternatives, sampled, vocabulary) {
  const section = make("section", "alternatives");
  section.append(make("h3", "label", "Likeliest tokens"));
  const columns = make("div", "columns");
  for (const { policy, entries, bits } of alternatives) {
    const column = make("div");
    column.dataset.policy = policy;
    column.append(make("h4", "", policy));
    const list = make("ol");
    for (const { id, probability } of entries) {
      const row = make("li", id === sampled ? "sampled" : "");
      row.dataset.id = id;
      const bar = make("span", "bar");
      bar.style.width = `${Math.min(100 * probability, 100)}%`;
      row.append(make("bdi", "", tokenOf(vocabulary, id).text), make("span", "share", percent(probability, bits)), bar);
      if (id === sampled) row.append(make("span", "unseen", "(the token of the response)"));
      list.append(row);
    }
    column.append(list);
    columns.append(column);
  }
  section.append(columns);
  return section;
}
