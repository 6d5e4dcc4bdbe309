// One VM with the module in every role: filters and access loggers of one listener that share it.

import type { Use } from '../host/envoy.ts';
import { type Chain, Listener } from '../host/listener.ts';
import type { Flat } from './flat.ts';
import { CONFIGURATION, FILTER, Recorder, type RecorderOptions } from './recorder.ts';

const VM_ID = 'meshtrail';
export type Place = keyof Chain;
export const PLACES: readonly Place[] = ['network', 'http', 'httpLoggers', 'tcpLoggers', 'listenerLoggers'];

export class Mesh {
  readonly recorder: Recorder;
  readonly listener: Listener;
  readonly uses: Readonly<Partial<Record<Place, Use>>>;

  constructor(places: readonly Place[] = PLACES, { configuration = CONFIGURATION, ...options }: RecorderOptions = {}) {
    const [first, ...rest] = places;
    const pluginOf = (place = ''): { rootId: string; vmId: string; configuration: string } => {
      const layer = place === 'tcpLoggers' || place === 'listenerLoggers' ? 'connection' : 'http';
      return { rootId: place, vmId: VM_ID, configuration: JSON.stringify({ ...configuration, layer }) };
    };
    this.recorder = new Recorder({ ...options, plugin: pluginOf(first) });
    const uses: Partial<Record<Place, Use>> = {};
    if (first !== undefined) uses[first] = this.recorder.use;
    for (const place of rest) uses[place] = this.recorder.envoy.load({ code: FILTER, ...pluginOf(place) });
    this.uses = uses;
    const chain = Object.fromEntries(Object.entries(uses).map(([place, use]) => [place, [use]]));
    this.listener = new Listener(this.recorder.envoy, chain);
  }

  /** The records so far, after what waits has been delivered. */
  records(worker?: string): Flat[] {
    this.recorder.flush();
    this.recorder.assertHealthy();
    return this.recorder.flat(worker);
  }
}

/** What tells records of one thing apart. */
export const signOf = ({ kind = 'http', phase = 'end', sensor = 'http_filter', repeat }: Flat): string =>
  `${kind} ${phase} ${sensor}${repeat === 1 ? ' repeat' : ''}`;
