// Benchmark `filter`: what recording costs Envoy for each request.

import type { Benchmark } from '../lib/benchmark.ts';

export const filter: Benchmark = {
  name: 'filter',
  summary: 'CPU time of Envoy for each request with our filter, its JSON file log, its gRPC log and nothing.',
  roundsDefault: 7,
  run: () => Promise.reject(new Error('this benchmark is not there yet')),
};
