/** What this library uses of WebAssembly; neither TypeScript's library without the DOM nor @types/node 20 declares it. */
declare namespace WebAssembly {
  interface Memory {
    readonly buffer: ArrayBuffer;
  }
  type Imports = Readonly<Record<string, Readonly<Record<string, (...values: number[]) => unknown>>>>;
  function instantiate(
    bytes: Uint8Array,
    imports: Imports,
  ): Promise<{ readonly instance: { readonly exports: unknown } }>;
}
