/** Tables in Markdown, and their places in the files of results. */

const ROOT = new URL("../../", import.meta.url);

/** A table in Markdown. */
export function markdownTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |\n`;
  return line(head) + line(head.map(() => "---")) + rows.map(line).join("");
}

/**
 * Puts a text between the marks of this name.
 *
 * @param file Below the folder of deno.json
 */
export async function writeBetweenMarks(
  file: string,
  name: string,
  text: string,
): Promise<void> {
  const path = new URL(file, ROOT);
  const [open, close] = [`<!-- ${name} -->`, `<!-- end of ${name} -->`];
  const page = await Deno.readTextFile(path);
  const [start, end] = [page.indexOf(open), page.indexOf(close)];
  if (start < 0 || end < start) {
    throw new Error(`Cannot write the table: "${file}" has no mark "${open}"`);
  }
  await Deno.writeTextFile(
    path,
    `${page.slice(0, start)}${open}\n\n${text}\n${page.slice(end)}`,
  );
  await new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--quiet", path.pathname],
  }).output();
}
