// The types of the functions that fs.ts takes from fs-extra.

declare const fsExtra: {
  ensureDir(path: string): Promise<unknown>;
  emptyDir(path: string): Promise<unknown>;
};
export default fsExtra;
