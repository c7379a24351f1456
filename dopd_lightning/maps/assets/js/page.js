// The page: what is shown of which step, and in the address, so that a view can be linked.

const at = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
const state = {
  at: index.steps.length - 1,
  prompt: null,
  colour: null,
  token: null,
  theme: dark.matches ? "dark" : "light",
};
let vocabulary;
let step;
let wanted = 0;

const tokens = new Tokens(at("tokens"), (position, pinned) => {
  showRecord(at("record"), step, response(), position, vocabulary);
  if (!pinned || position === null) return;
  state.token = position;
  const values = [...at("record").querySelectorAll("dd")].map(
    (value) => `${value.previousSibling.textContent}: ${value.textContent}`,
  );
  at("live").textContent = values.slice(0, 4).join(", ");
  remember();
});

const prompts = new Prompts(at("prompts"), at("search"), at("matches"), (key) => {
  if (key === state.prompt) return;
  Object.assign(state, { prompt: key, token: null });
  showResponse();
  remember();
});

function response() {
  return step.responses.find(({ key }) => key === state.prompt);
}

// What a person searches in: the prompt, and the response without marks for what is invisible.
function textOf({ prompt, start, end }) {
  let bytes = "";
  for (let position = start; position < end; position++) bytes += tokenOf(vocabulary, step.ids[position]).bytes;
  return `${prompt}\n${new TextDecoder().decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)))}`;
}

async function showStep(position) {
  const turn = ++wanted;
  state.at = Math.min(Math.max(position, 0), index.steps.length - 1);
  at("step").value = state.at;
  at("step").setAttribute("aria-valuetext", `step ${index.steps[state.at]}`);
  at("step-shown").textContent = index.steps[state.at].toLocaleString("en");
  at("previous").disabled = state.at === 0;
  at("next").disabled = state.at === index.steps.length - 1;
  const decoded = await decodeStep(state.at);
  if (turn !== wanted) return; // the slider has moved on
  step = decoded;
  const offered = colouringsOf(step);
  if (!offered.has(state.colour)) state.colour = [...offered.keys()][0] ?? null;
  at("colour").replaceChildren(...[...offered].map(([name, label]) => new Option(label, name)));
  at("colour").value = state.colour;
  const empty = !step.responses.length;
  at("map").hidden = empty;
  sentence(empty ? "There are no responses at this step." : "");
  if (!response()) {
    if (state.prompt !== null) state.token = null; // it was another response's
    state.prompt = step.responses[0]?.key ?? null;
  }
  if (!empty) {
    prompts.show(step, textOf, state.theme);
    showResponse();
  }
  showLegend();
  remember();
}

function showResponse() {
  const shown = response();
  prompts.select(shown.key);
  at("prompt-heading").textContent =
    `Prompt ${shown.number + 1}, ${shown.fixed ? "at every step" : "at this step only"}`;
  at("prompt").textContent = shown.prompt;
  at("privileged").hidden = shown.privileged === null;
  at("privileged").querySelector("p").textContent = shown.privileged ?? "";
  at("length").textContent = `${shown.tokens.toLocaleString("en")} ${shown.tokens === 1 ? "token" : "tokens"}`;
  tokens.show(step, shown, vocabulary);
  const token = state.token !== null && state.token < shown.tokens ? state.token : null;
  state.token = token;
  if (token === null) showRecord(at("record"), step, shown, null, vocabulary);
  else {
    tokens.pin(token);
    tokens.spans[token].scrollIntoView({ block: "nearest" });
  }
  recolour();
  showTotals(at("totals"), step, shown, state.theme);
}

function recolour() {
  if (step.responses.length && state.colour) tokens.colour(step, response(), state.colour, state.theme);
}

function showLegend() {
  fillLegend(at("legend"), state.colour, state.theme);
}

function setTheme(theme) {
  state.theme = theme;
  document.documentElement.dataset.theme = theme;
  if (!step) return;
  recolour();
  showLegend();
  prompts.colour(theme);
  if (response()) showTotals(at("totals"), step, response(), theme);
}

function sentence(text) {
  at("empty").hidden = !text;
  at("empty").textContent = text;
}

function remember() {
  const parts = {
    step: index.steps[state.at],
    prompt: state.prompt,
    colour: state.colour,
    token: state.token === null ? null : state.token + 1,
  };
  const hash = new URLSearchParams(Object.entries(parts).filter(([, value]) => value !== null));
  history.replaceState(null, "", `#${hash}`);
}

function recall() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const found = index.steps.indexOf(Number(hash.get("step") || NaN));
  const token = Number(hash.get("token") || NaN);
  state.prompt = hash.get("prompt");
  state.colour = hash.get("colour");
  state.token = Number.isInteger(token) && token > 0 ? token - 1 : null;
  return found < 0 ? index.steps.length - 1 : found;
}

async function start() {
  setTheme(state.theme);
  dark.addEventListener("change", (event) => setTheme(event.matches ? "dark" : "light"));
  at("theme").addEventListener("click", () => setTheme(state.theme === "dark" ? "light" : "dark"));
  if (!index.steps.length) {
    sentence("There is nothing to show: this page has no step.");
    document.documentElement.dataset.ready = "";
    return;
  }
  at("controls").hidden = false;
  at("step").max = index.steps.length - 1;
  at("step").addEventListener("input", (event) => showStep(Number(event.target.value)));
  at("previous").addEventListener("click", () => showStep(state.at - 1));
  at("next").addEventListener("click", () => showStep(state.at + 1));
  at("colour").addEventListener("change", (event) => {
    state.colour = event.target.value;
    recolour();
    showLegend();
    remember();
  });
  let screen;
  addEventListener("beforeprint", () => {
    screen = state.theme;
    setTheme("light");
  });
  addEventListener("afterprint", () => setTheme(screen));
  addEventListener("hashchange", () => showStep(recall()));
  vocabulary = await decodeVocabulary();
  await showStep(recall());
  document.documentElement.dataset.ready = "";
}

start();
