/** Tables in Markdown, and their places in README.md. */

const ROOT = new URL("../../", import.meta.url);

/** A table in Markdown. */
export function markdownTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |\n`;
  return line(head) + line(head.map(() => "---")) + rows.map(line).join("");
}

/** Puts a text between the marks of this name in README.md. */
export async function writeToReadme(name: string, text: string): Promise<void> {
  const path = new URL("README.md", ROOT);
  const [open, close] = [`<!-- ${name} -->`, `<!-- end of ${name} -->`];
  const readme = await Deno.readTextFile(path);
  const [start, end] = [readme.indexOf(open), readme.indexOf(close)];
  if (start < 0 || end < start) {
    throw new Error(`Cannot write the table: README.md has no mark "${open}"`);
  }
  await Deno.writeTextFile(
    path,
    `${readme.slice(0, start)}${open}\n\n${text}\n${readme.slice(end)}`,
  );
  await new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--quiet", path.pathname],
  }).output();
}
