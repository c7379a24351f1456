// The list of prompts: those that come back at every step, then those of this step alone.

const GROUPS = [
  ["fixed", "At every step"],
  ["fresh", "At this step only"],
];

class Prompts {
  constructor(container, search, matches, chosen) {
    Object.assign(this, { container, search, matches, chosen, options: [] });
    search.addEventListener("input", () => this.filter());
    container.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) chosen(option.dataset.key);
    });
    container.addEventListener("keydown", (event) => this.walk(event));
  }

  show(step, textOf, theme) {
    this.step = step;
    this.texts = null;
    this.textOf = textOf;
    this.options = [];
    this.container.replaceChildren();
    for (const [kind, label] of GROUPS) {
      const responses = step.responses.filter((response) => response.fixed === (kind === "fixed"));
      if (!responses.length) continue;
      const group = make("div");
      group.setAttribute("role", "group");
      group.setAttribute("aria-label", label);
      group.append(make("p", "label", label));
      for (const response of responses) group.append(this.option(response));
      this.container.append(group);
    }
    this.colour(theme);
    this.filter();
  }

  option(response) {
    const option = make("div", "option");
    option.setAttribute("role", "option");
    option.dataset.key = response.key;
    const strip = make("span", "strip");
    strip.setAttribute("aria-hidden", "true");
    option.append(
      make("span", "number", String(response.number + 1)),
      make("bdi", "excerpt", response.prompt.slice(0, 200)),
      strip,
    );
    this.options.push(option);
    option.strip = { strip, response };
    return option;
  }

  // Under each prompt, how much of its response belongs to which regime.
  colour(theme) {
    for (const option of this.options) {
      const { strip, response } = option.strip;
      const rows = totals(this.step, response.start, response.end);
      strip.replaceChildren(
        ...index.regimes.flatMap((_, regime) => {
          if (!rows.has(regime)) return [];
          const part = make("span");
          part.style.width = `${100 * rows.get(regime).share}%`;
          part.style.backgroundColor = REGIME_COLOURS[theme][regime];
          return [part];
        }),
      );
    }
  }

  select(key) {
    for (const option of this.options) {
      const selected = option.dataset.key === key;
      option.setAttribute("aria-selected", String(selected));
      if (selected) option.scrollIntoView({ block: "nearest" });
    }
    this.reach();
  }

  filter() {
    const wanted = this.search.value.trim().toLowerCase();
    if (wanted)
      this.texts ??= new Map(
        this.step.responses.map((response) => [response.key, this.textOf(response).toLowerCase()]),
      );
    let found = 0;
    for (const option of this.options) {
      option.hidden = Boolean(wanted) && !this.texts.get(option.dataset.key).includes(wanted);
      found += !option.hidden;
    }
    for (const group of this.container.children) group.hidden = !group.querySelector("[role=option]:not([hidden])");
    this.matches.textContent = wanted ? `${found} of ${this.options.length} match` : "";
    this.reach();
  }

  // One option is in the order of tabs: the selected one, or the first if that is hidden.
  reach() {
    const reachable = this.options.filter((option) => !option.hidden);
    const selected = reachable.find((option) => option.getAttribute("aria-selected") === "true");
    for (const option of this.options) option.tabIndex = option === (selected ?? reachable[0]) ? 0 : -1;
  }

  walk(event) {
    const reachable = this.options.filter((option) => !option.hidden);
    const from = reachable.indexOf(event.target.closest("[role=option]"));
    const to = { ArrowDown: from + 1, ArrowUp: from - 1, Home: 0, End: reachable.length - 1, Enter: from, " ": from }[
      event.key
    ];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const option = reachable[to];
    if (!option) return;
    this.chosen(option.dataset.key);
    option.focus();
  }
}
