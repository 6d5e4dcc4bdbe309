// The two ends of an exchange as nodes of a graph: what is observed of them first, then what is claimed, then where they are.
// Each way to name a node has the filter that finds its records, so that what is read can be asked for.

import { ATTRIBUTES, type FilterRow } from '../core/attributes.ts';
import type { FlowRecord } from '../core/record.ts';
import type { Key } from '../index/aggregate.ts';

export type NodeKind = 'workload' | 'principal' | 'pod';
export type Side = 'source' | 'destination';

/** A node as the API writes it. */
export interface GraphNode {
  /** Absent where nothing is known. */
  readonly name?: string;
  /** The field that the name is of. */
  readonly field?: string;
  /** The name is what somebody said, and nobody checked. */
  readonly claimed?: true;
}

/** One way to name a node; the first that a record has is taken. */
interface Way {
  readonly field: string;
  /** Name parts, joined by dots, or undefined when the record does not have them. */
  readonly of: (record: FlowRecord) => readonly string[] | undefined;
  readonly isClaim: boolean;
  /** CEL: whether a record has it, and whether it has these parts. */
  readonly has: string;
  readonly is: (parts: readonly string[]) => string;
}

const text = (value: string): string => JSON.stringify(value);

/** A plain field. */
function field(name: string, isClaim = false): Way {
  const attribute = ATTRIBUTES.get(name);
  return {
    field: name,
    of: (record) => {
      const value = attribute?.of({ record, startNs: 0n }) as string | undefined;
      return value === undefined ? undefined : [value];
    },
    isClaim,
    has: `has(${name})`,
    is: ([value = '']) => `${name} == ${text(value)}`,
  };
}

/** An address without its port, which says little of who it is. */
function host(name: string): Way {
  const whole = field(name);
  return {
    ...whole,
    of: (record) => whole.of(record)?.map(hostOf),
    is: ([value = '']) => `(${name} == ${text(value)} || ${name}.startsWith(${text(`${value}:`)}))`,
  };
}

/** The host of `host:port`; an IPv6 host stands in brackets, and a path of a socket has no port. */
export function hostOf(address: string): string {
  const match = /^(\[[^\]]*\]|[^:]*):\d+$/.exec(address);
  return match?.[1] ?? address;
}

function account(side: Side): Way {
  const [name, namespace] = [`${side}.service_account`, `${side}.namespace`];
  return {
    field: name,
    of: (record) => {
      const { service_account: own, namespace: of } = record[side];
      return own === undefined || of === undefined ? undefined : [own, of];
    },
    isClaim: false,
    has: `has(${name}) && has(${namespace})`,
    is: ([own = '', of = '']) => `${name} == ${text(own)} && ${namespace} == ${text(of)}`,
  };
}

/** The reporter's own workload, with its namespace as in its node cluster. */
function own(side: Side): Way {
  const workload = `${side}.workload`;
  return {
    field: 'node.cluster',
    of: ({ reporter, node, [side]: { workload: name } }) =>
      reporter === side && name !== undefined && node.cluster !== undefined ? [node.cluster] : undefined,
    isClaim: false,
    has: `reporter == ${text(side)} && has(${workload})`,
    is: ([name = '']) => `reporter == ${text(side)} && node.cluster == ${text(name)}`,
  };
}

const claimed = true;

/** Ways to name a side, the surest first. A workload is its reporter's own, or a claim of the other side's. */
const WAYS: Readonly<Record<'workload' | 'principal', Readonly<Record<Side, readonly Way[]>>>> = {
  workload: {
    source: [
      account('source'),
      field('source.principal'),
      own('source'),
      field('source.workload', claimed),
      host('source.address'),
    ],
    destination: [
      account('destination'),
      field('destination.principal'),
      own('destination'),
      field('destination.workload', claimed),
      field('request.host', claimed),
      field('connection.requested_server_name', claimed),
      host('destination.address'),
    ],
  },
  principal: {
    source: [field('source.principal'), host('source.address')],
    destination: [
      field('destination.principal'),
      field('request.host', claimed),
      field('connection.requested_server_name', claimed),
      host('destination.address'),
    ],
  },
};

/** The name in a node id of Istio's form, `sidecar~10.0.0.7~orders-0.shop~shop.svc.cluster.local`, and its address. */
export function podOf(nodeId: string): { readonly pod: string; readonly address: string | undefined } {
  const [, address, pod, domain] = nodeId.split('~');
  return domain === undefined || pod === undefined || pod === ''
    ? { pod: nodeId, address: undefined }
    : { pod, address };
}

/** Names of pods by their address, where one address is one pod. */
export type Pods = ReadonlyMap<string, string>;

/** Reads them from the node ids of known proxies. */
export function podsOf(nodeIds: Iterable<string>): Pods {
  const pods = new Map<string, string>();
  const shared = new Set<string>();
  for (const id of nodeIds) {
    const { pod, address } = podOf(id);
    if (address === undefined) continue;
    const known = pods.get(address);
    if (known !== undefined && known !== pod) shared.add(address);
    pods.set(address, pod);
  }
  for (const address of shared) pods.delete(address);
  return pods;
}

/** A pod: the reporter's own by its node id, the other side by its address, which has a name where its pod is known. */
function podWay(side: Side, pods: Pods): Way {
  const address = host(`${side}.address`);
  const isOwn = (record: FlowRecord): boolean => record.reporter === side && record.node.id !== undefined;
  return {
    field: 'node.id',
    of: (record) => {
      if (isOwn(record)) return [podOf(record.node.id as string).pod];
      const pod = pods.get(address.of(record)?.[0] ?? '');
      return pod === undefined ? undefined : [pod];
    },
    isClaim: false,
    has: `reporter == ${text(side)} && has(node.id)`,
    is: ([pod = '']) => {
      const own = `reporter == ${text(side)} && (node.id == ${text(pod)} || node.id.contains(${text(`~${pod}~`)}))`;
      const others = [...pods].filter(([, name]) => name === pod).map(([at]) => address.is([at]));
      const other = `(reporter != ${text(side)} || !has(node.id)) && (${others.join(' || ')})`;
      return others.length === 0 ? own : `(${own} || ${other})`;
    },
  };
}

/** How nodes of one kind are told apart and named. */
export class Nodes {
  readonly #ways: Readonly<Record<Side, readonly Way[]>>;

  constructor(kind: NodeKind, pods: Pods = new Map()) {
    this.#ways =
      kind === 'pod'
        ? {
            source: [podWay('source', pods), host('source.address')],
            destination: [podWay('destination', pods), host('destination.address')],
          }
        : WAYS[kind];
  }

  /** The key of a side: which way, and the parts of the name. */
  key(side: Side): Key {
    const ways = this.#ways[side];
    const reads = ways.map(({ field: name }) => name);
    const others = [`${side}.namespace`, `${side}.workload`, 'reporter', 'node.id'];
    return { name: side, type: 'string', reads: [...reads, ...others], of };
    function of({ record }: FilterRow): string {
      for (let i = 0; i < ways.length; i++) {
        const way = ways[i] as Way;
        const parts = way.of(record);
        if (parts !== undefined) return JSON.stringify([i, ...parts]);
      }
      return '[]';
    }
  }

  /** The node of a key's value. */
  node(side: Side, key: string): GraphNode {
    const [at, ...parts] = JSON.parse(key) as [number?, ...string[]];
    const way = at === undefined ? undefined : this.#ways[side][at];
    if (way === undefined) return {};
    return { name: parts.join('.'), field: way.field, ...(way.isClaim ? { claimed: true as const } : {}) };
  }

  /** CEL that finds exactly the records of a key's value. */
  filter(side: Side, key: string): string {
    const [at, ...parts] = JSON.parse(key) as [number?, ...string[]];
    const ways = this.#ways[side];
    const before = ways.slice(0, at ?? ways.length);
    const terms = before.map(({ has }) => (has.includes('&&') ? `!(${has})` : `!${has}`));
    const way = at === undefined ? undefined : ways[at];
    if (way === undefined) return terms.join(' && ');
    terms.push(way.is(parts));
    return terms.join(' && ');
  }
}
