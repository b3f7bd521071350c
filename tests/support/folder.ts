/** A folder of its own for each test that wants one. */

/** A folder that is removed at the end. */
export class TestFolder implements AsyncDisposable {
  /** Its path, without symbolic links. */
  readonly path: string;

  /** @param path Its path */
  constructor(path: string) {
    this.path = path;
  }

  /** Makes one that other users may read. */
  static async create(): Promise<TestFolder> {
    const path = await Deno.realPath(
      await Deno.makeTempDir({ prefix: "smtp-test-" }),
    );
    if (Deno.build.os !== "windows") await Deno.chmod(path, 0o755);
    return new TestFolder(path);
  }

  /** Writes a file into it; gives its path. */
  async write(name: string, text: string): Promise<string> {
    const path = `${this.path}/${name}`;
    await Deno.writeTextFile(path, text);
    return path;
  }

  /** The paths of all files below it, relative and sorted. */
  async files(below = ""): Promise<string[]> {
    const found: string[] = [];
    for await (const entry of Deno.readDir(`${this.path}/${below}`)) {
      const path = below === "" ? entry.name : `${below}/${entry.name}`;
      if (entry.isDirectory) found.push(...await this.files(path));
      else found.push(path);
    }
    return found.sort();
  }

  /** The text of a file in it. */
  async read(name: string): Promise<string> {
    return await Deno.readTextFile(`${this.path}/${name}`);
  }

  /** Removes it with all that is in it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}
