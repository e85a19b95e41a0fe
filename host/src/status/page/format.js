// Numbers, sizes and times as the page writes them.

const whole = new Intl.NumberFormat("en");
const oneDigit = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export const count = (n) => whole.format(n);
export const rate = (n) => (n >= 100 ? whole.format(Math.round(n)) : oneDigit.format(n));
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** For axes: `12k`, `3.4M`. */
export function short(n) {
  if (n >= 1e6) return `${oneDigit.format(n / 1e6)}M`;
  if (n >= 1e4) return `${oneDigit.format(n / 1e3)}k`;
  return oneDigit.format(n);
}

export function bytes(n) {
  if (n < 1024) return `${n} B`;
  if (n < 1048576) return `${oneDigit.format(n / 1024)} KiB`;
  if (n < 1073741824) return `${oneDigit.format(n / 1048576)} MiB`;
  return `${oneDigit.format(n / 1073741824)} GiB`;
}

export function millis(ms) {
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${oneDigit.format(ms / 1000)} s`;
  const two = (big, of, small, part) => [`${Math.floor(ms / big)} ${of}`, Math.floor((ms % big) / small) && `${Math.floor((ms % big) / small)} ${part}`].filter(Boolean).join(" ");
  if (ms < 3600000) return two(60000, "min", 1000, "s");
  return ms < 172800000 ? two(3600000, "h", 60000, "min") : two(86400000, "d", 3600000, "h");
}

export const micros = (us) => `${us < 10 ? us.toFixed(2) : us < 1000 ? us.toFixed(0) : whole.format(Math.round(us))} µs`;

export const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");

const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** The time of day, with the day where that is not today. */
export function moment(ms) {
  const at = new Date(ms);
  const today = new Date().toDateString() === at.toDateString();
  return today ? clock(ms) : `${DAY.format(at)}, ${clock(ms)}`;
}

export const exactly = (ms) => new Date(ms).toISOString().replace("T", " ").replace("Z", " UTC");

/** Characters that a terminal or a reader's eye would obey are shown as what they are: U+001B becomes ␛, U+202E becomes \u202e. */
export function visible(text) {
  return text.replace(/[\u0000-\u0008\u000b-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0))).replace(/[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A JSON value as one line of text. */
export const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));
