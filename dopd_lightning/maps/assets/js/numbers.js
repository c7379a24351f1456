// Numbers as people read them, and what is added up from them.

function percent(share, bits = 16) {
  if (Number.isNaN(share)) return "–";
  const about = bits < 16 ? "≈ " : "";
  if (share === 0) return `${about}0 %`;
  if (Math.abs(share) < 0.001) return "<0.1 %";
  return `${about}${(100 * share).toFixed(share < 0.0995 ? 1 : 0).replace("-", "−")} %`;
}

// As many digits as are known: 4 of 16 bits, 2 of 8, 1 of 6.
function written(value, bits, digits = { 16: 4, 8: 2, 6: 1 }[bits]) {
  if (Number.isNaN(value)) return "not finite";
  if (Math.abs(value) > 0.999 * index.numbers.largest) return `≥ ${index.numbers.largest.toLocaleString("en")}`;
  const about = bits < 16 ? "≈ " : "";
  if (value === 0) return `${about}0`;
  const small = Math.abs(value) < 0.0001;
  const text = small ? value.toExponential(Math.min(digits - 1, 2)) : String(Number(value.toPrecision(digits)));
  return `${about}${text.replaceAll("-", "−")}`;
}

function mean(values) {
  let sum = 0;
  for (const value of values) sum += value;
  return values.length ? sum / values.length : NaN;
}

// A quantity of one response's tokens, or what is derived from one.
function valuesOf(step, response, name) {
  if (name !== "loss_share") return step.numbers[name].subarray(response.start, response.end);
  const losses = step.numbers.loss.subarray(response.start, response.end);
  const sum = losses.reduce((total, loss) => total + loss, 0);
  return losses.map((loss) => (sum > 0 ? loss / sum : 0));
}

// Share, mean gap and mean loss of each regime among the tokens from start to end; -1 is "no regime".
function totals(step, start, end) {
  const rows = new Map();
  for (let at = start; at < end; at++) {
    const regime = step.regimes[at];
    if (!rows.has(regime)) rows.set(regime, { tokens: 0, gap: [], loss: [] });
    const row = rows.get(regime);
    row.tokens++;
    if (step.numbers.gap) row.gap.push(step.numbers.gap[at]);
    if (step.numbers.loss) row.loss.push(step.numbers.loss[at]);
  }
  for (const row of rows.values()) {
    row.share = row.tokens / (end - start);
    row.gap = mean(row.gap);
    row.loss = mean(row.loss);
  }
  return rows;
}
