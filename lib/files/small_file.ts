/**
 * Text files that a person writes: settings, accounts, certificates. Reads them
 * whole, up to a limit: a file without end, such as a device or another
 * program's pipe, must not fill the memory. Stands alone: the command line and
 * lib/tls read such files.
 */

/** Most bytes of such a file. */
const MOST_BYTES = 16 * 1024 * 1024;

/**
 * Reads a file or a pipe as text.
 *
 * @throws {RangeError} If it has more than 16 MiB
 * @throws {Deno.errors.NotFound} If it does not exist; and other errors of the platform
 */
export async function readSmallFile(path: string): Promise<string> {
  using file = await Deno.open(path);
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  while (true) {
    const chunk = new Uint8Array(65_536);
    const read = await file.read(chunk);
    if (read === null) break;
    size += read;
    if (size > MOST_BYTES) {
      throw new RangeError("It is larger than 16 MiB");
    }
    chunks.push(chunk.subarray(0, read));
  }
  return await new Blob(chunks).text();
}
