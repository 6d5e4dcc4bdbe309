// What tests of the service graph share.

import assert from 'node:assert/strict';
import type { Edge } from '../../collector/src/api/edges.ts';
import type { RowFacts } from '../../collector/src/core/codec/encode.ts';
import { add, rowOf } from './exchanges.ts';
import type { Setup } from './harness.ts';

export const id = (i: number): Uint8Array => new Uint8Array(16).fill(i + 1);

export async function ask(s: Setup, path: string): Promise<Record<string, never>> {
  const answer = (await s.json(path)) as Record<string, never>;
  assert.ok('asOf' in answer, JSON.stringify(answer));
  return answer;
}
export const edgesOf = async (s: Setup, query = ''): Promise<readonly Edge[]> =>
  (await ask(s, `/v1/edges?${query}`))['edges'] as unknown as readonly Edge[];
export const names = (edges: readonly Edge[]) =>
  edges.map(({ source, destination, requests }) => [source.name, destination.name, requests]);

/** A call that both sides report, the client in one batch and the server in another. */
export async function bothSides(
  s: Setup,
  count: number,
  told: Partial<Parameters<typeof rowOf>[0]> = {},
): Promise<void> {
  const one = (i: number, isClient: boolean): RowFacts =>
    rowOf({
      ...{ from: 'frontend', to: 'orders', atMs: i * 10 + (isClient ? 0 : 1), tookMs: isClient ? 5 : 3 },
      ...{ isClient, requestId: id(i), code: 200 },
      ...told,
    });
  await add(
    s.log,
    Array.from({ length: count }, (_, i) => one(i, true)),
  );
  await add(
    s.log,
    Array.from({ length: count }, (_, i) => one(i, false)),
  );
}
