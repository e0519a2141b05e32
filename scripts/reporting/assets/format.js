"use strict";
// Numbers as text for people; the same rules as scripts/plotting/text.py.
const MISSING = "not measured";
const STEPS = {
  bytes: [[1, "B"], [1e3, "kB"], [1e6, "MB"], [1e9, "GB"], [1e12, "TB"], [1e15, "PB"]],
  ns: [[1, "ns"], [1e3, "µs"], [1e6, "ms"], [1e9, "s"]],
  count: [[1, ""], [1e3, "k"], [1e6, "M"], [1e9, "bn"]],
};

function significant(value, digits) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(Math.max(digits - 1, 0)).replace(/\.?0+e/, "e");
  return Number(value.toPrecision(digits)).toString();
}

function scaled(value, steps, digits) {
  let [factor, unit] = steps[0];
  for (const [f, u] of steps) if (Math.abs(value) >= f * (1 - 0.5 * 10 ** -digits)) [factor, unit] = [f, u];
  return `${significant(value / factor, digits)} ${unit}`.trim();
}

/** Text of a number in one of the formats of panels.axis(); absent numbers say so. */
function shown(value, format, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return MISSING;
  if (format === "percent") return `${significant(100 * value, digits)} %`;
  if (format === "points") return `${significant(100 * value, digits)} points`;
  if (format === "rate") return `${scaled(value, STEPS.count, digits)}/s`;
  if (STEPS[format]) return scaled(value, STEPS[format], digits);
  return significant(value, digits + 2);
}

/** An element with text and attributes; text is never markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}
