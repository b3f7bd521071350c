/**
 * Whether the aliases in an answer lead in a circle. Such an answer has no
 * records and no error either, and would read as "there are none": mail would
 * be returned for what is a mistake in somebody's zone, or a lie.
 *
 * Never trusts the octets: pointers are followed a limited number of times, and
 * what cannot be read is no circle. Pure: bytes in, values out.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc1034#section-3.6.2 | RFC 1034 section 3.6.2},
 * {@link https://www.rfc-editor.org/rfc/rfc1035#section-4.1.4 | RFC 1035 section 4.1.4}
 */

const HEADER = 12;
const TYPE_CNAME = 5;
/** Octets of a record between its name and its data. */
const RECORD_HEAD = 10;
/** More labels and pointers than a name can have. */
const MOST_STEPS = 140;

/**
 * Whether the chain of aliases that begins at the question's name comes back to
 * a name that it has passed.
 *
 * @param answer A whole answer, its question included
 * @param start Where its first record begins
 */
export function hasAliasLoop(answer: Uint8Array, start: number): boolean {
  const aliases = readAliases(answer, start);
  const passed = new Set<string>();
  let name = readName(answer, HEADER)?.name;
  while (name !== undefined && !passed.has(name)) {
    passed.add(name);
    name = aliases.get(name);
  }
  return name !== undefined;
}

/** The aliases of the answer section: what each name stands for. */
function readAliases(answer: Uint8Array, start: number): Map<string, string> {
  const aliases = new Map<string, string>();
  let left = (answer[6]! << 8) | answer[7]!;
  for (let at = start; left > 0; left--) {
    const owner = readName(answer, at);
    if (owner === undefined || owner.end + RECORD_HEAD > answer.length) break;
    const head = answer.subarray(owner.end, owner.end + RECORD_HEAD);
    const data = owner.end + RECORD_HEAD;
    if (head[0] === 0 && head[1] === TYPE_CNAME) {
      const target = readName(answer, data);
      if (target === undefined) break;
      aliases.set(owner.name, target.name);
    }
    at = data + ((head[8]! << 8) | head[9]!);
  }
  return aliases;
}

/** A name in lower case, and where the octets after it begin; `undefined` if it cannot be read. */
function readName(
  bytes: Uint8Array,
  start: number,
): { readonly name: string; readonly end: number } | undefined {
  let name = "";
  let at = start;
  let end = 0;
  for (let step = 0; step < MOST_STEPS; step++) {
    const length = bytes[at];
    if (length === undefined) return undefined;
    if (length === 0) return { name, end: end || at + 1 };
    if (length >= 0xc0) {
      end ||= at + 2;
      at = ((length & 0x3f) << 8) | (bytes[at + 1] ?? 0);
      continue;
    }
    const label = bytes.subarray(at + 1, at + 1 + length);
    name += `${String.fromCharCode(...label).toLowerCase()}.`;
    at += length + 1;
  }
  return undefined;
}
