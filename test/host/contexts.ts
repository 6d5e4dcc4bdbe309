// Root and stream contexts: what a hook that runs on them can read.

import { BUFFER, bytesOf, lookUp, MAP, type Message, type Pairs, type Value } from './abi.ts';
import type { Answer, OutgoingCall } from './upstreams.ts';
import { headerProperty, isHeaderMap, isVisible, type Role, type TlsState } from './views.ts';

/** What Envoy knows of one exchange or connection at its end. */
export interface Facts {
  readonly properties?: Message;
  readonly requestHeaders?: Pairs;
  readonly responseHeaders?: Pairs;
  readonly responseTrailers?: Pairs;
}

/** What a trap does to traffic: Envoy’s `failure_policy`, or the older field `fail_open: true` in its place. */
export type FailurePolicy = 'FAIL_CLOSED' | 'FAIL_OPEN' | 'FAIL_RELOAD' | 'fail_open: true';

export const DEFAULT_NAME = 'recorder';

/** A plugin as a filter or access logger configures it. Plugins that agree in `vmId`, `vmConfiguration` and code share a VM. */
export interface Plugin {
  readonly code: Uint8Array;
  readonly configuration?: string | Uint8Array;
  /** Fetched from a URL, not inline or from a file. */
  readonly isRemote?: boolean;
  readonly name?: string;
  readonly rootId?: string;
  readonly vmId?: string;
  readonly vmConfiguration?: string;
  readonly direction?: 'inbound' | 'outbound';
  /** FAIL_CLOSED when nothing is said. */
  readonly failurePolicy?: FailurePolicy;
}

const NO_FACTS: Facts = {};
const NO_HEADERS: ReadonlyMap<string, Value> = new Map();

export class Context {
  readonly id: number;
  /** The context's root; a root is its own. */
  readonly root: RootContext | undefined;
  facts: Facts = NO_FACTS;
  /** Decides what it sees of the facts. */
  role: Role = 'root';
  /** The connection's TLS side; undefined where a test tells of none. */
  tls: TlsState | undefined;
  /** Header maps stand only while the exchange is logged. */
  isLogging = false;

  constructor(id: number, root: RootContext | undefined) {
    this.id = id;
    this.root = root;
  }

  map(type: number): Pairs | undefined {
    if (type >= MAP.callResponseHeaders) {
      const answer = this.root?.answer;
      return type === MAP.callResponseHeaders ? answer?.headers : answer?.trailers;
    }
    if (!this.isLogging) return undefined;
    if (type === MAP.requestHeaders) return this.facts.requestHeaders;
    if (type === MAP.responseHeaders) return this.facts.responseHeaders;
    // There are no request trailers in the log phase.
    return type === MAP.responseTrailers ? this.facts.responseTrailers : undefined;
  }

  buffer(type: number): Uint8Array | undefined {
    if (type === BUFFER.callResponseBody) return this.root?.answer?.body;
    return this.root?.configurations.get(type);
  }

  property(path: readonly string[], process: Message): Value | undefined {
    const own = isVisible(this.role, this.isLogging, path) ? this.#ownProperty(path) : undefined;
    if (own !== undefined) return own;
    // The map is there for every stream, with headers or without.
    if ((this.isLogging || this.role !== 'root') && isHeaderMap(path)) return NO_HEADERS;
    for (const tree of [this.root?.properties, process]) {
      const value = tree === undefined ? undefined : lookUp(tree, path);
      if (value !== undefined) return value;
    }
    // Envoy looks for an unknown name among the filter states that other Wasm plugins set.
    const [first = '', ...rest] = path;
    return this.facts.properties === undefined
      ? undefined
      : lookUp(this.facts.properties, ['filter_state', `wasm.${first}`, ...rest]);
  }

  #ownProperty(path: readonly string[]): Value | undefined {
    const { properties, requestHeaders, responseHeaders } = this.facts;
    const found = properties === undefined ? undefined : lookUp(properties, path);
    if (found !== undefined) return this.tls === undefined ? found : this.tls.read(path, found);
    const [side, headers, ...rest] = path;
    const pairs = side === 'request' ? requestHeaders : side === 'response' ? responseHeaders : undefined;
    return headers === 'headers' && pairs !== undefined
      ? lookUp({ map: headerProperty(pairs) }, ['map', ...rest])
      : undefined;
  }
}

export class RootContext extends Context {
  override readonly root: RootContext = this;
  readonly key: string;
  readonly properties: Message;
  /** Present only during vm_start and configure. */
  readonly configurations = new Map<number, Uint8Array>();
  readonly calls = new Map<number, OutgoingCall>();
  /** Present only during http_call_response. */
  answer: Required<Pick<Answer, 'headers' | 'body' | 'trailers'>> | undefined;
  tickPeriodMs = 0;
  tickDueMs = Number.POSITIVE_INFINITY;
  liveStreams = 0;
  /** No listener uses it any more: it goes with its last stream. */
  isRetired = false;

  constructor(id: number, plugin: Plugin) {
    super(id, undefined);
    this.key = pluginKey(plugin);
    this.properties = {
      plugin_name: plugin.name ?? DEFAULT_NAME,
      plugin_root_id: plugin.rootId ?? '',
      plugin_vm_id: plugin.vmId ?? '',
    };
  }
}

const textOf = (value: string | Uint8Array | undefined): string => Buffer.from(bytesOf(value ?? '')).toString('latin1');

/** Plugins with equal keys share a root in each VM, also when several listeners have them. */
export function pluginKey(plugin: Plugin): string {
  const { name = '', rootId = '', direction = '' } = plugin;
  return JSON.stringify([name, rootId, direction, textOf(plugin.configuration)]);
}
