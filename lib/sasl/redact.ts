/**
 * What objects that hold secrets show of themselves to a console: a text of
 * the object's choosing, never its fields.
 */

const INSPECTIONS = [
  Symbol.for("Deno.customInspect"),
  Symbol.for("nodejs.util.inspect.custom"),
];

/**
 * Makes `Deno.inspect`, `console.log` and `node:util` show a text in place of
 * an object's fields. For constructors.
 *
 * @param target The object
 * @param describe Gives the text, without secrets
 */
export function redact(target: object, describe: () => string): void {
  for (const inspection of INSPECTIONS) {
    Object.defineProperty(target, inspection, { value: describe });
  }
}
