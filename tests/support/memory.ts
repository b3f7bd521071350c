/** What a process holds: memory after a garbage collection, files, descriptors. */

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Bytes of heap and buffers in use after a garbage collection. */
export async function heapInUse(): Promise<number> {
  // Objects with finalizers go only at the second collection.
  for (let round = 0; round < 3; round++) {
    await new Promise<void>((resolve) => setTimeout(resolve, 0));
    collect();
  }
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

/** Open descriptors of a process; `undefined` where the system does not say. */
export function openFiles(pid: number = Deno.pid): number | undefined {
  try {
    return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
  } catch {
    return undefined;
  }
}

/** Bytes of a process that are in memory; `undefined` where the system does not say. */
export function residentSize(pid: number): number | undefined {
  try {
    const text = Deno.readTextFileSync(`/proc/${pid}/status`);
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1]) * 1024;
  } catch {
    return undefined;
  }
}
