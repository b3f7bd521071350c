/**
 * The console output of objects that hold secrets: a text of the object's
 * choice, never its fields.
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
 * @param describe Returns the text, without secrets
 */
export function redact(target: object, describe: () => string): void {
  for (const inspection of INSPECTIONS) {
    Object.defineProperty(target, inspection, { value: describe });
  }
}
