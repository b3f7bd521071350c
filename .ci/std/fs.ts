// The functions of @std/fs that the project uses, from fs-extra on npm: the
// same names, arguments and results.

// deno-lint-ignore-file no-import-prefix

import { fileURLToPath } from "node:url";
// @ts-types="./fs_extra.d.ts"
import fsExtra from "npm:fs-extra@11.3.2";

/** Makes the folder and those above it where they are missing. */
export async function ensureDir(dir: string | URL): Promise<void> {
  await fsExtra.ensureDir(toPath(dir));
}

/** Removes what is in the folder; makes it where it is missing. */
export async function emptyDir(dir: string | URL): Promise<void> {
  await fsExtra.emptyDir(toPath(dir));
}

function toPath(dir: string | URL): string {
  return typeof dir === "string" ? dir : fileURLToPath(dir);
}
