// Roots of this VM: one for each plugin and direction that shares it. All share one stream; the newest configuration holds for all.

import { proxy_set_tick_period_milliseconds } from '../abi/env';
import { monotonicClock, readBuffer, readProperty, valueAt, valueBytes, wallClock } from '../abi/read';
import { BUFFER_CONFIGURATION, OK } from '../abi/status';
import { MESH_CLUSTER, NODE_CLUSTER, NODE_ID, setNodeText } from '../record/batch';
import {
  acceptConfig,
  flushIntervalMs,
  headerCount,
  headerNames,
  layerRead,
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
import { countBuffers } from './buffers';
import { prepareDelivery } from './delivery';
import { reportLiving } from './interim';
import { signOfLife } from './life';
import { noteEnd } from './live';
import { defineMetrics, tellMetrics } from './metrics';
import { endStream, ensureStream, flush } from './recorder';
import { sayRefused } from './say';

const ROOTS_MAX: u32 = 64;
const ROOT_BYTES: usize = 8;
const ROOTS: usize = memory.data(512, 4); // u32 context id, 0 free; u32 layer
const PATH_NODE_ID = path('xds.node.id');
const PATH_NODE_CLUSTER = path('xds.node.cluster');
const NOT_READABLE = text('the proxy does not hand over the configuration');
const TOO_MANY = text('more than 64 plugins share this VM');
const NO_RANDOM = text('the proxy has no random numbers');

/** The root whose ticks count: several would seal small batches too often. */
let ticking: u32 = 0;

/** Places that were ever in use: an exchange looks no further. */
let places: usize = 0;
/** A context that is no root: a filter's. */
export const NO_LAYER: u32 = 0xffff_ffff;

function placeOf(root: u32): usize {
  for (let i: usize = 0; i < places; i++) if (load<u32>(ROOTS + ROOT_BYTES * i) == root) return ROOTS + ROOT_BYTES * i;
  return 0;
}

function newPlace(): usize {
  const free = placeOf(0);
  if (free != 0 || places == <usize>ROOTS_MAX) return free;
  return ROOTS + ROOT_BYTES * places++;
}

/** What a root logs, when a context is one: then it is logged by an access logger. */
export function layerOf(context: u32): u32 {
  const place: usize = context == 0 ? 0 : placeOf(context);
  return place == 0 ? NO_LAYER : load<u32>(place, 4);
}

function anyRoot(): u32 {
  for (let i: usize = 0; i < places; i++) {
    const root = load<u32>(ROOTS + ROOT_BYTES * i);
    if (root != 0) return root;
  }
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
  const known = placeOf(root);
  const place = known != 0 ? known : newPlace();
  if (place == 0) return refuse(TOO_MANY);
  if (!ensureStream()) return refuse(NO_RANDOM);
  acceptConfig();
  store<u32>(place, root);
  store<u32>(place, layerRead(), 4);
  // A root is no exchange, though its id is one of theirs.
  noteEnd(root);
  countBuffers();
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
  const now = monotonicClock();
  const isAliveDue = signOfLife(now, wallClock());
  reportLiving(root, now);
  flush(isAliveDue);
  tellMetrics();
}

/** A root is over. With the last one the stream ends. */
export function end(root: u32): void {
  const place = placeOf(root);
  if (root == 0 || place == 0) return;
  store<u32>(place, 0);
  const other = anyRoot();
  if (root == ticking) ticking = other;
  if (other != 0) return;
  endStream();
  tellMetrics();
}
