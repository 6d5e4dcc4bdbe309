// A compiled Wasm module as Envoy judges it before it runs: its ABI, its imports, its allocator.

/** The part of the WebAssembly API that the host uses; the compiler's library has it only for browsers. */
interface WebAssemblyApi {
  readonly Module: {
    new (code: Uint8Array): object;
    imports(module: object): { module: string; name: string; kind: string }[];
    exports(module: object): { name: string; kind: string }[];
  };
}
const { Module } = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly;

/** The configuration with the module is refused; traffic goes on with the configuration before it. */
export class Refused extends Error {
  override readonly name = 'Refused';
}

/** Real Envoy would end here with a signal. */
export class Crashed extends Error {
  override readonly name = 'Crashed';
}

/** Host functions that Envoy has and the emulator has not, so that the refusal can say which of the two it is. */
const NOT_EMULATED =
  /^env\.(?:proxy_(?:set_property|send_local_response|clear_route_cache|(?:register|resolve|enqueue|dequeue)_shared_queue|(?:add|replace|remove)_header_map_value|set_header_map_pairs|get_header_map_size|get_buffer_status|set_buffer_bytes|grpc_\w+|call_foreign_function|continue_stream|close_stream|get_status)|envoy_resolve_dns)$|^wasi_snapshot_preview1\./;
const ABI = /^proxy_abi_version_0_(?:1_0|2_0|2_1)$/;

export class GuestModule {
  readonly module: object;
  readonly exports: ReadonlySet<string>;
  readonly hasStartSection: boolean;

  /** Throws Refused. */
  constructor(code: Uint8Array, hostFunctions: ReadonlySet<string>) {
    // A copy: a pooled Buffer would show the compiler its neighbours.
    const bytes = Uint8Array.from(code);
    try {
      this.module = new Module(bytes);
    } catch (error) {
      throw new Refused(`Failed to load Wasm code: ${(error as Error).message}`);
    }
    this.exports = new Set(Module.exports(this.module).map(({ name }) => name));
    this.hasStartSection = sectionsOf(bytes).includes(8);
    if (![...this.exports].some((name) => ABI.test(name)))
      throw new Refused('Missing or unknown Proxy-Wasm ABI version');
    for (const { module, name } of Module.imports(this.module)) {
      const full = `${module}.${name}`;
      if (hostFunctions.has(full)) continue;
      if (NOT_EMULATED.test(full)) throw new Refused(`The emulator has no ${full}, which Envoy has`);
      throw new Refused(`Failed to load Wasm module due to a missing import: ${full}`);
    }
    if (!this.exports.has('malloc') && !this.exports.has('proxy_on_memory_allocate'))
      throw new Refused('Wasm module is missing malloc function.');
  }
}

/** Ids of the module's sections, in order. */
function sectionsOf(code: Uint8Array): number[] {
  const ids: number[] = [];
  for (let at = 8; at < code.length; ) {
    ids.push(code[at++] as number);
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = code[at++] ?? 0;
      size += (byte & 127) * 2 ** shift;
      if (byte < 128) break;
    }
    at += size;
  }
  return ids;
}
