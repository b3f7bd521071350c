/**
 * Words that plain English does without, in comments and in Markdown. The lint
 * rule `house/prose` and the tests of the house read this list.
 */

/** A word, and what to write in its place. */
interface WordHit {
  /** Where it stands in the text, in characters. */
  readonly at: number;
  /** As it is written. */
  readonly word: string;
  /** What to write. */
  readonly advice: string;
}

/** Each word with the advice. */
const WORDS: readonly (readonly [pattern: string, advice: string])[] = [
  ["octets?", "say byte; octet only in a quotation"],
  ["who(?:m|ever)?", "name the thing: a client that, an operator that"],
  ["nobody", "say what does not happen: no client, no one"],
  ["(?:is|are|was|were) none", "say no, or name what is missing"],
  ["borne", "say allowed or tolerated"],
  ["anew", "say again"],
  ["of no use", "say useless, or what is not used"],
  ["good-?bye", "say QUIT, or the end of the session"],
  ["in peace", "say what is not done"],
  ["as ever", "leave it out"],
  ["(?:is|are|was|were|be|been) told", "say who reports what: X logs Y"],
  ["in vain", "say that it failed"],
  ["he|him|his|himself", "say they"],
  ["log-ins?", "say login"],
];
const PATTERN = new RegExp(
  `\\b(?:${WORDS.map(([pattern]) => `(${pattern})`).join("|")})\\b`,
  "gi",
);
/** What is quoted is not ours: code, and the words of others. */
const QUOTED = /```[\s\S]*?```|`[^`\n]*`|"[^"\n]*"/g;

/** The words of the list in a text. */
export function wordHits(text: string): WordHit[] {
  const own = text.replace(QUOTED, (quoted) => " ".repeat(quoted.length));
  return [...own.matchAll(PATTERN)].map((match) => ({
    at: match.index,
    word: match[0],
    advice: WORDS[match.slice(1).findIndex((group) => group !== undefined)]![1],
  }));
}
