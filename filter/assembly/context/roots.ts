// Roots of this VM: one for each plugin and direction that shares it. All share one stream; the newest configuration holds for all.

import { proxy_set_tick_period_milliseconds } from '../abi/env';
import { readBuffer, readProperty, valueAt, valueBytes } from '../abi/read';
import { BUFFER_CONFIGURATION, OK } from '../abi/status';
import { MESH_CLUSTER, NODE_CLUSTER, NODE_ID, setNodeText } from '../record/batch';
import {
  acceptConfig,
  flushIntervalMs,
  headerCount,
  headerNames,
  MESH_CLUSTER_NAME,
  problem,
  problemKeyAt,
  problemKeyBytes,
  readConfig,
  textValueAt,
  textValueBytes,
} from '../record/config';
import { allowHeaders } from '../record/headers';
import { path, text } from '../record/text';
import { prepareDelivery } from './delivery';
import { defineMetrics, tellMetrics } from './metrics';
import { endStream, ensureStream, flush } from './recorder';
import { sayRefused } from './say';

const ROOTS_MAX: u32 = 64;
const ROOTS: usize = memory.data(256, 4); // u32 context ids, 0 free
const PATH_NODE_ID = path('xds.node.id');
const PATH_NODE_CLUSTER = path('xds.node.cluster');
const NOT_READABLE = text('the proxy does not hand over the configuration');
const TOO_MANY = text('more than 64 plugins share this VM');
const NO_RANDOM = text('the proxy has no random numbers');

/** The root whose ticks count: several would seal small batches too often. */
let ticking: u32 = 0;

function placeOf(root: u32): usize {
  for (let i: usize = 0; i < <usize>ROOTS_MAX; i++) if (load<u32>(ROOTS + 4 * i) == root) return ROOTS + 4 * i;
  return 0;
}

function anyRoot(): u32 {
  for (let i: usize = 0; i < <usize>ROOTS_MAX; i++) if (load<u32>(ROOTS + 4 * i) != 0) return load<u32>(ROOTS + 4 * i);
  return 0;
}

function readNodeText(which: u32, from: usize): void {
  if (readProperty(from) == OK) setNodeText(which, valueAt, valueBytes);
}

function refuse(why: usize): bool {
  sayRefused(0, 0, why);
  return false;
}

/** Takes a root's configuration; false refuses it, and the proxy does not take the plugin. */
export function configure(root: u32, bytes: u32): bool {
  if (readBuffer(BUFFER_CONFIGURATION, bytes) != OK) return refuse(NOT_READABLE);
  if (!readConfig(valueAt, valueBytes)) {
    sayRefused(problemKeyAt, problemKeyBytes, problem);
    return false;
  }
  const place = placeOf(root) != 0 ? placeOf(root) : placeOf(0);
  if (place == 0) return refuse(TOO_MANY);
  if (!ensureStream()) return refuse(NO_RANDOM);
  acceptConfig();
  store<u32>(place, root);
  allowHeaders(headerNames(), headerCount);
  prepareDelivery();
  readNodeText(NODE_ID, PATH_NODE_ID);
  readNodeText(NODE_CLUSTER, PATH_NODE_CLUSTER);
  setNodeText(MESH_CLUSTER, textValueAt(MESH_CLUSTER_NAME), textValueBytes(MESH_CLUSTER_NAME));
  defineMetrics();
  ticking = root;
  proxy_set_tick_period_milliseconds(flushIntervalMs);
  return true;
}

export function tick(root: u32): void {
  if (root != ticking) return;
  flush();
  tellMetrics();
}

/** A context is over. With the last root the stream ends. */
export function end(context: u32): void {
  const place = placeOf(context);
  if (context == 0 || place == 0) return;
  store<u32>(place, 0);
  const other = anyRoot();
  if (context == ticking) ticking = other;
  if (other != 0) return;
  endStream();
  tellMetrics();
}
