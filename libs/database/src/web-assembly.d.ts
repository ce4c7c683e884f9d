/** The part of the WebAssembly API that Node has and that TypeScript only declares together with the browser's DOM. */
declare namespace WebAssembly {
  type ModuleImports = Record<string, unknown>;
  type Exports = Record<string, unknown>;

  class Module {
    constructor(bytes: Uint8Array);
    readonly #brand: true;
    static imports(module: Module): { readonly module: string; readonly name: string }[];
  }

  class Instance {
    constructor(module: Module, imports: Record<string, ModuleImports>);
    readonly exports: Exports;
  }
}
