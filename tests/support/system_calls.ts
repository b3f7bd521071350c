/**
 * The system calls of a program, as `strace -f -y` records them, and the part of
 * its files that a loss of power would have taken at any moment.
 *
 * A call of one thread may begin while another's is under way: so every call has
 * a beginning and an end, and a sync counts only for what had ended when it
 * began, from when it has ended itself.
 */

import { dirname, resolve } from "node:path";

/** The calls that {@linkcode readCalls} is to be given. */
export const TRACED: readonly string[] = [
  ...["open", "openat", "creat", "mkdir", "mkdirat"],
  ...["rename", "renameat", "renameat2", "link", "linkat"],
  ...["unlink", "unlinkat", "rmdir", "fsync", "fdatasync", "ftruncate"],
  ...["write", "writev", "pwrite64", "sendto", "sendmsg"],
];

/** The program and arguments that run another and write its calls to `path`. */
export function straceCommand(path: string): readonly string[] {
  // -D makes the watched program the child, which gets the signals.
  return [
    ...["strace", "-D", "-f", "-y", "-s", "1000", "-o", path],
    ...["-e", `trace=${TRACED.join(",")}`, "-e", "signal=none"],
  ];
}

/** One system call that succeeded. */
export interface Call {
  /** As `"fsync"`. */
  readonly name: string;
  /** All between the parentheses. */
  readonly args: string;
  /** What it returned, as `"25</tmp/mail>"`. */
  readonly result: string;
  /** The line on which it began. */
  readonly from: number;
  /** The line on which it ended; the same for a call that none interrupted. */
  readonly to: number;
}

/** The calls, in the order in which they ended. */
export function readCalls(text: string): Call[] {
  const calls: Call[] = [];
  const open = new Map<string, { text: string; from: number }>();
  for (const [at, line] of text.split("\n").entries()) {
    const [, thread = "", rest = ""] = /^(\d+) +(.*)$/.exec(line) ?? [];
    const begun = /^(.*) <unfinished \.\.\.>$/.exec(rest);
    if (begun !== null) {
      open.set(thread, { text: begun[1]!, from: at });
      continue;
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    const start = resumed === null ? undefined : open.get(thread);
    const whole = resumed === null ? rest : `${start?.text}${resumed[1]}`;
    const call = /^(\w+)\((.*)\)\s+= (\d.*)$/.exec(whole);
    if (call === null) continue;
    const [, name, args, result] = call as unknown as string[];
    calls.push({
      name: name!,
      args: args!,
      result: result!,
      from: start?.from ?? at,
      to: at,
    });
  }
  return calls;
}

/** The strings among the arguments. */
function strings({ args }: Call): string[] {
  return [...args.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text]) => text!);
}

/** The path behind the first file descriptor of the arguments. */
function pathOf({ args }: Call): string {
  return /^\d+<([^>]*)>/.exec(args)?.[1] ?? "";
}

/** The file that `open` and its kin made or opened, where it may have been made. */
function made(call: Call): string | undefined {
  if (!/^(open|openat|creat)$/.test(call.name)) return undefined;
  if (call.name !== "creat" && !call.args.includes("O_CREAT")) return undefined;
  return /^\d+<([^>]*)>/.exec(call.result)?.[1];
}

/** The modes with which files and folders below `root` were made, by path. */
export function modesBelow(
  calls: readonly Call[],
  root: string,
): ReadonlyMap<string, string> {
  const modes = new Map<string, string>();
  for (const call of calls) {
    const path = call.name.startsWith("mkdir")
      ? resolve(root, strings(call)[0]!)
      : made(call);
    if (!path?.startsWith(`${root}/`)) continue;
    const mode = /, (0\d+)$/.exec(call.args)?.[1];
    modes.set(path, mode ?? "none");
  }
  return modes;
}

/** The calls that sent or wrote a text with this beginning, to any descriptor. */
export function saying(calls: readonly Call[], text: string): Call[] {
  return calls.filter((call) =>
    /^(write|writev|sendto|sendmsg)$/.test(call.name) &&
    strings(call)[0]?.startsWith(text)
  );
}

/** The calls that wrote to the file at `path`. */
export function writesTo(calls: readonly Call[], path: string): Call[] {
  return calls.filter((call) =>
    /^(write|writev|pwrite64)$/.test(call.name) && pathOf(call) === path
  );
}

/** The syncs of the file or folder at `path`. */
export function syncsOf(calls: readonly Call[], path: string): Call[] {
  return calls.filter((call) => isSync(call) && pathOf(call) === path);
}

/** The calls that removed the file at `path`, which is below the program's folder `root`. */
export function removalsOf(
  calls: readonly Call[],
  root: string,
  path: string,
): Call[] {
  return calls.filter((call) =>
    call.name.startsWith("unlink") &&
    resolve(root, strings(call)[0]!) === resolve(root, path)
  );
}

function isSync({ name }: Call): boolean {
  return name === "fsync" || name === "fdatasync";
}

/** What was done to one file, wherever it was at the time. */
interface Inode {
  /** Where the last call ended that changed its content. */
  changed: number;
  /** Syncs of it: where they began. */
  readonly syncs: number[];
}

/** The files below a folder at one moment, and those that a loss of power would take. */
export interface Survey {
  /** The files that are there. */
  readonly files: readonly string[];
  /** `"name PATH"` or `"content PATH"`, relative, for all that would be lost. */
  readonly losses: readonly string[];
}

/**
 * What is below `root` when the call `until` begins.
 *
 * @param root A folder that was empty when the program began
 */
export function survey(
  calls: readonly Call[],
  root: string,
  until: Call,
): Survey {
  const inodes = new Map<string, Inode>();
  /** Where the call ended that made the name. */
  const names = new Map<string, number>();
  const folderSyncs: { readonly path: string; readonly from: number }[] = [];
  const inode = (path: string): Inode => {
    let found = inodes.get(path);
    if (found === undefined) {
      inodes.set(path, found = { changed: -1, syncs: [] });
    }
    return found;
  };
  const isBelow = (path: string) => path.startsWith(`${root}/`);
  for (const call of calls) {
    if (call.to >= until.from) break;
    const [first = "", second = ""] = strings(call).map((path) =>
      resolve(root, path)
    );
    const file = made(call);
    if (file !== undefined && isBelow(file) && !names.has(file)) {
      names.set(file, call.to);
      inode(file);
    } else if (call.name.startsWith("mkdir") && isBelow(first)) {
      names.set(first, call.to);
    } else if (call.name.startsWith("rename") && isBelow(second)) {
      names.delete(first);
      names.set(second, call.to);
      inodes.set(second, inode(first));
      inodes.delete(first);
    } else if (call.name.startsWith("link") && isBelow(second)) {
      names.set(second, call.to);
      inodes.set(second, inode(first));
    } else if (/^(unlink|unlinkat|rmdir)$/.test(call.name)) {
      names.delete(first);
      inodes.delete(first);
    } else if (isSync(call)) {
      const path = pathOf(call);
      if (inodes.has(path)) inode(path).syncs.push(call.from);
      folderSyncs.push({ path, from: call.from });
    } else if (/^(write|writev|pwrite64|ftruncate)$/.test(call.name)) {
      const path = pathOf(call);
      if (inodes.has(path)) inode(path).changed = call.to;
    }
  }
  const losses: string[] = [];
  for (const [path, madeAt] of names) {
    const folder = dirname(path);
    const isKept = folderSyncs.some((sync) =>
      sync.path === folder && sync.from > madeAt
    );
    if (!isKept) losses.push(`name ${path.slice(root.length + 1)}`);
  }
  for (const [path, { changed, syncs }] of inodes) {
    if (changed < 0 || syncs.some((from) => from > changed)) continue;
    losses.push(`content ${path.slice(root.length + 1)}`);
  }
  const files = [...inodes.keys()].map((path) => path.slice(root.length + 1));
  return { files: files.sort(), losses: losses.sort() };
}
