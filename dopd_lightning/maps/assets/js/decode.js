// From the page's inert blocks to arrays. encoding.py and numbers.py say how they are written.

"use strict";

const index = JSON.parse(document.getElementById("index").textContent);

async function inflate(base64) {
  const binary = atob(base64);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function decodeVocabulary() {
  const block = document.getElementById("vocabulary").textContent;
  const tokens = new Map();
  if (!block) return tokens;
  const { ids, bytes, shown, lengths } = JSON.parse(new TextDecoder().decode(await inflate(block)));
  let id = 0;
  ids.forEach((difference, at) => {
    id += difference;
    const text = shown[at] ?? bytes[at].replaceAll(" ", index.space);
    tokens.set(id, { text, bytes: bytes[at], length: lengths[at] ?? bytes[at].length });
  });
  return tokens;
}

async function decodeStep(at) {
  const blocks = document.getElementById(`step-${at}`).textContent.split(" ");
  const inflated = await Promise.all(blocks.map((block) => (block === index.absent ? null : inflate(block))));
  const layers = Object.fromEntries(index.layers.map((name, layer) => [name, inflated[layer]]));
  const header = JSON.parse(new TextDecoder().decode(layers.texts));
  let start = 0;
  const responses = header.responses.map((response) => {
    const begin = start;
    start += response.tokens;
    return { ...response, key: `${response.fixed ? "fixed" : "fresh"}-${response.number}`, start: begin, end: start };
  });
  const names = header.quantities.filter((name) => layers[`coarse/${name}`]);
  return {
    step: header.step,
    responses,
    ids: decodeIds(layers.ids ?? new Uint8Array(), 0, start),
    regimes: new Int8Array((layers.regimes ?? new Uint8Array()).buffer),
    numbers: Object.fromEntries(names.map((name) => [name, decodeNumbers(layers, header.quantities, name, start)])),
    bits: layers.fine ? 16 : layers.finer ? 8 : 6,
    parts: new Map(header.parts.map(([position, text, note]) => [position, { text, note }])),
    alternatives: decodeAlternatives(layers, header, start),
  };
}

function decodeIds(bytes, from, count) {
  const ids = new Int32Array(count);
  for (let at = 0; at < count; at++) {
    ids[at] = bytes[from + at] | (bytes[from + count + at] << 8) | (bytes[from + 2 * count + at] << 16);
  }
  return ids;
}

function decodeNumbers(layers, quantities, name, count) {
  const coarse = layers[`coarse/${name}`];
  const plane = quantities.indexOf(name) * count;
  const bits = layers.fine ? 16 : layers.finer ? 8 : 6;
  const { coarse: first, finer: second } = index.numbers.digits;
  const values = new Float64Array(count);
  for (let at = 0; at < count; at++) {
    let code = coarse[at] << first[0];
    if (layers.finer) code |= layers.finer[plane + at] << second[0];
    if (layers.fine) code |= layers.fine[plane + at];
    const negative = (coarse[count + (at >> 3)] >> (at & 7)) & 1;
    values[at] = negative ? -valueOf(code, bits) : valueOf(code, bits);
  }
  return values;
}

// Of a code that was cut short, the middle of what it may have been; but nothing at all stays nothing.
function valueOf(code, bits) {
  const { small, largest, last } = index.numbers;
  if (code > last) return NaN;
  const middle = code && bits < 16 ? code + (1 << (15 - bits)) : code;
  return small * Math.expm1((middle * Math.log1p(largest / small)) / last);
}

// A function from a token's position to its alternatives by policy, likeliest first; null where the page has none.
function decodeAlternatives(layers, header, count) {
  const { few, shares } = index.alternatives;
  const policies = header.policies.length;
  const kept = Math.min(few, header.alternatives);
  const more = header.alternatives - kept;
  const rows = new Map();
  for (const share of shares) {
    const layer = layers[`alternatives/${share}`];
    if (!layer) continue;
    const positions = [];
    for (let at = 0; at < count; at++) if ((layer[at >> 3] >> (at & 7)) & 1) positions.push(at);
    const part = {
      layer,
      ids: decodeIds(layer, (count + 7) >> 3, policies * positions.length * kept),
      size: positions.length,
    };
    positions.forEach((position, row) => rows.set(position, { part, row }));
  }
  const rest = layers["alternatives/more"];
  const restIds = rest && decodeIds(rest, 0, policies * count * more);
  const fine = layers["alternatives/fine"];

  const probability = (high, policy, position, rank) =>
    fine
      ? valueOf((high << 8) | fine[(policy * count + position) * header.alternatives + rank], 16)
      : valueOf(high << 8, 8);

  return (position) => {
    const found = rows.get(position);
    if (!found) return null;
    const { part, row } = found;
    return header.policies.map((name, policy) => {
      const entries = [];
      for (let rank = 0; rank < kept; rank++) {
        const at = (policy * part.size + row) * kept + rank;
        const high = part.layer[((count + 7) >> 3) + 3 * part.ids.length + at];
        entries.push({ id: part.ids[at], probability: probability(high, policy, position, rank) });
      }
      for (let rank = 0; restIds && rank < more; rank++) {
        const at = (policy * count + position) * more + rank;
        const high = rest[3 * restIds.length + at];
        entries.push({ id: restIds[at], probability: probability(high, policy, position, kept + rank) });
      }
      return { policy: name, entries, bits: fine ? 16 : 8 };
    });
  };
}
