// Runs `deno publish --dry-run`: which files would go, whether their specifiers
// and types are fit for JSR. That command takes no import map, so where jsr.io
// does not answer (the flag of std_source.ts is given) it runs on a copy whose
// manifest names the npm packages; types are then left to `deno task check`.

const ROOT = new URL("../", import.meta.url);

/** What stands for the @std modules that the published files import. */
const SUBSTITUTES = {
  "@std/assert": "npm:deno-std@1.4.0/assert/mod.js",
};

/** Copies a file or a folder with all that is in it. */
async function copy(from: URL, to: URL): Promise<void> {
  if (!(await Deno.stat(from)).isDirectory) {
    return await Deno.copyFile(from, to);
  }
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    const path = isDirectory ? `${name}/` : name;
    await copy(new URL(path, from), new URL(path, to));
  }
}

/** Runs the command in a folder; gives its exit code. */
async function dryRun(cwd: URL, flags: readonly string[]): Promise<number> {
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["publish", "--dry-run", "--allow-dirty", ...flags],
    cwd,
  }).spawn().status;
  return code;
}

/** Runs it on a copy of the published files. */
async function dryRunOfCopy(): Promise<number> {
  const manifest = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", ROOT)),
  );
  const folder = await Deno.makeTempDir();
  try {
    const target = new URL(`file://${folder}/`);
    for (const path of manifest.publish.include as string[]) {
      const folder = new URL("./", new URL(path, target));
      await Deno.mkdir(folder, { recursive: true });
      await copy(new URL(path, ROOT), new URL(path, target));
    }
    const { lint: _, ...rest } = manifest;
    await Deno.writeTextFile(
      new URL("deno.json", target),
      JSON.stringify({ ...rest, imports: SUBSTITUTES }),
    );
    return await dryRun(target, ["--no-check"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.exit(
  Deno.args.length === 0 ? await dryRun(ROOT, []) : await dryRunOfCopy(),
);
