// The response as coloured tokens, one of which can be focused.

class Tokens {
  // chosen(position, pinned): a token was pointed at, or focused and so pinned; null once nothing is pointed at.
  constructor(container, chosen) {
    this.container = container;
    this.chosen = chosen;
    this.spans = [];
    this.current = null;
    const positionOf = (event) => {
      const span = event.target.closest("[role=option]");
      return span ? Number(span.dataset.position) : null;
    };
    container.addEventListener("pointerover", (event) => {
      const position = positionOf(event);
      if (position !== null && event.pointerType !== "touch") chosen(position, false);
    });
    container.addEventListener("pointerleave", () => chosen(this.current, false));
    container.addEventListener("click", (event) => {
      const position = positionOf(event);
      if (position !== null) this.spans[position].focus({ preventScroll: true });
    });
    container.addEventListener("focusin", (event) => {
      const position = positionOf(event);
      if (position !== null) this.pin(position);
    });
    container.addEventListener("keydown", (event) => this.walk(event));
  }

  show(step, response, vocabulary) {
    this.current = null;
    this.spans = [];
    const nodes = [];
    for (let position = 0; position < response.tokens; position++) {
      const at = response.start + position;
      const { text } = step.parts.get(at) ?? tokenOf(vocabulary, step.ids[at]);
      const span = make("span", "token");
      span.setAttribute("role", "option");
      span.setAttribute("aria-selected", "false");
      span.setAttribute("aria-label", text);
      span.dataset.position = position;
      span.tabIndex = position ? -1 : 0;
      const spaces = text.length - text.replace(/^␣+/, "").length;
      if (spaces) span.append(make("span", "space", text.slice(0, spaces)));
      span.append(text.slice(spaces));
      this.spans.push(span);
      if (spaces) nodes.push(make("wbr")); // where a line may end
      nodes.push(span);
      const ends = text.split("↵").length - 1;
      if (ends) nodes.push(make("br"));
      if (ends > 1) nodes.push(make("span", "paragraph"));
    }
    if (!nodes.length) nodes.push(make("p", "quiet", "This response is empty."));
    this.container.replaceChildren(...nodes);
  }

  colour(step, response, name, theme) {
    const values = name === "regime" ? null : valuesOf(step, response, name);
    this.spans.forEach((span, position) => {
      const regime = step.regimes[response.start + position];
      delete span.dataset.regime;
      delete span.dataset.unknown;
      if (name === "regime" ? regime < 0 : Number.isNaN(values[position])) {
        span.dataset.unknown = "";
        span.style.backgroundColor = span.style.color = "";
      } else if (name === "regime") {
        span.dataset.regime = regimeOf(regime).name;
        paint(span, REGIME_COLOURS[theme][regime]);
      } else {
        paint(span, ramp(onScale(name, values[position]), theme));
      }
    });
  }

  pin(position) {
    const before = this.spans[this.current ?? 0];
    if (before) {
      before.tabIndex = -1;
      before.setAttribute("aria-selected", "false");
    }
    this.current = position;
    this.spans[position].tabIndex = 0;
    this.spans[position].setAttribute("aria-selected", "true");
    this.chosen(position, true);
  }

  walk(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.spans.length) return;
    const last = this.spans.length - 1;
    const from = this.current ?? 0;
    const to = {
      ArrowRight: () => from + 1,
      ArrowLeft: () => from - 1,
      ArrowDown: () => this.across(from, 1),
      ArrowUp: () => this.across(from, -1),
      Home: () => 0,
      End: () => last,
    }[event.key]?.();
    if (to === undefined) return;
    event.preventDefault();
    this.spans[Math.min(Math.max(to, 0), last)].focus();
  }

  // The token closest to this one on the next line down (1) or up (-1).
  across(from, direction) {
    const middle = (span) => {
      const { left, right } = span.getBoundingClientRect();
      return (left + right) / 2;
    };
    const topOf = (span) => span.getClientRects()[0]?.top ?? 0;
    const [start, centre] = [topOf(this.spans[from]), middle(this.spans[from])];
    let best = from;
    let line = null;
    for (let at = from + direction; this.spans[at]; at += direction) {
      const top = topOf(this.spans[at]);
      if (Math.abs(top - start) < 4) continue;
      line ??= top;
      if (Math.abs(top - line) >= 4) break;
      if (best === from || Math.abs(middle(this.spans[at]) - centre) < Math.abs(middle(this.spans[best]) - centre))
        best = at;
    }
    return best;
  }
}
