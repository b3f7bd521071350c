/**
 * Sizes, ages and columns as people read them. Pure.
 */

const UNITS: readonly (readonly [name: string, ms: number])[] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1000],
];

/** A length of time in its largest unit, as `"5 min"`; `"0 s"` for less than one second. */
export function formatAge(ms: number): string {
  for (const [name, size] of UNITS) {
    if (ms >= size) return `${Math.floor(ms / size)} ${name}`;
  }
  return "0 s";
}

/** Octets, as `"4.1 KiB"`. */
export function formatSize(octets: number): string {
  if (octets < 1024) return `${octets} B`;
  let value = octets / 1024;
  for (const unit of ["KiB", "MiB", "GiB"]) {
    if (value < 1023.95 || unit === "GiB") return `${value.toFixed(1)} ${unit}`;
    value /= 1024;
  }
  return "";
}

/** A text cut to a width, with a sign that it was. */
export function fit(text: string, width: number): string {
  return text.length <= width
    ? text
    : `${text.slice(0, Math.max(0, width - 1))}…`;
}

const SIZE = /^(\d{1,15}(?:\.\d{1,6})?) ?([kmgt]?)(i?b?)$/i;

/**
 * The bytes of a size: `4096`, `10k`, `10M`, `1.5GiB`. k, M, G and T are powers
 * of 1024, with or without `i` and `iB`; `kB`, `MB`, `GB` and `TB` are powers of 1000.
 * `NaN` where the text is no size; may have a fraction.
 */
export function parseSize(text: string): number {
  const match = SIZE.exec(text);
  if (match === null) return NaN;
  const [, digits, unit, rest] = match;
  const power = " kmgt".indexOf(unit!.toLowerCase() || " ");
  if (power === 0 && /i/i.test(rest!)) return NaN;
  const base = /^b$/i.test(rest!) ? 1000 : 1024;
  return Number(digits) * base ** power;
}
