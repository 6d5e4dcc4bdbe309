// A mesh without Envoy for fast tests: one plain proxy for each sender, which routes by Host, refuses by the demo's policies,
// and notes what the records of real proxies would say.

import { once } from 'node:events';
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  INGRESS,
  POLICIES,
  type Policy,
  SERVICES,
  type ServiceName,
  spiffeIdOf,
} from '../../collector/src/demo/policies.ts';
import type { Parties } from '../../collector/src/demo/services.ts';
import { parseTraceparent } from '../../collector/src/demo/trace.ts';
import { recordKey } from '../../collector/src/demo/truth.ts';

export interface FakeMesh {
  /** Keys of the records that the proxies would have made. */
  readonly records: string[];
  close(): Promise<void>;
}

function matches(policy: Policy, caller: string, path: string): boolean {
  const isPath = policy.paths?.some((prefix) => path.startsWith(prefix)) ?? true;
  const isCaller = policy.callers?.includes(caller) ?? !(policy.exceptCallers?.includes(caller) ?? false);
  return isPath && isCaller;
}

function isRefused(destination: ServiceName, caller: string, path: string): boolean {
  const { deny, allow } = POLICIES[destination];
  return deny.some((policy) => matches(policy, caller, path)) || !allow.some((policy) => matches(policy, caller, path));
}

/** Joins parties by fake proxies. */
export async function joinByFakes(parties: Parties): Promise<FakeMesh> {
  const records: string[] = [];
  const servers: Server[] = [];
  const appPorts = new Map<string, number>();
  for (const { name } of SERVICES) appPorts.set(name, await parties.services[name].receiver.listen());
  const outsidePort = await parties.outside.listen();

  function handle(sender: string, caller: string, request: IncomingMessage, response: ServerResponse): unknown {
    const host = request.headers.host ?? '';
    const destination = sender === 'visitor' ? 'frontend' : host.replace(/\.(shop|backend)$/, '');
    const isAbsent = destination === 'recommendations';
    const service = SERVICES.find(({ name }) => name === destination)?.name;
    const path = request.url ?? '/';
    const trace = parseTraceparent(request.headers['traceparent']?.toString());
    const key = { method: request.method, path, spanId: trace?.spanId };
    const note = (status: number | null, verdict: string): void => {
      const seen = verdict === 'denied' ? 'allowed' : verdict;
      const common = { ...key, status };
      if (sender === 'visitor')
        records.push(recordKey({ ...common, proxy: INGRESS.name, reporter: 'gateway', verdict: seen }));
      else records.push(recordKey({ ...common, proxy: sender, reporter: 'source', verdict: seen }));
      if (service !== undefined)
        records.push(recordKey({ ...common, proxy: service, reporter: 'destination', verdict }));
    };
    const answer = (status: number, verdict: string): void => {
      note(status, verdict);
      response.writeHead(status).end('fake');
    };
    if (isAbsent) return answer(503, 'failed');
    if (service !== undefined && isRefused(service, caller, path)) return answer(403, 'denied');
    const port = service === undefined ? outsidePort : appPorts.get(service);
    const { method, headers } = request;
    let status: number | null = null;
    const onward = httpRequest({ host: '127.0.0.1', port, method, path, headers }, (reply) => {
      status = reply.statusCode ?? null;
      response.writeHead(reply.statusCode ?? 502, reply.headers);
      reply.pipe(response);
    });
    response.on('close', () => {
      note(status, response.writableFinished ? 'allowed' : 'reset');
      onward.destroy();
    });
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  }

  async function proxy(sender: string, caller: string): Promise<number> {
    const server = createServer((request, response) => handle(sender, caller, request, response));
    servers.push(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  parties.visitor.through(await proxy('visitor', spiffeIdOf(INGRESS.namespace, INGRESS.name)));
  for (const { name, namespace } of SERVICES)
    parties.services[name].sender.through(await proxy(name, spiffeIdOf(namespace, name)));
  return {
    records,
    async close() {
      await Promise.all(
        servers.map(async (server) => {
          const closed = once(server, 'close');
          server.close();
          server.closeAllConnections();
          await closed;
        }),
      );
    },
  };
}
