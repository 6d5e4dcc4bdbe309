// Open and interval records: what lives long enough is told of before it ends, at a tick.

import { proxy_set_effective_context } from '../abi/env';
import { resetArena } from '../abi/memory';
import { OK } from '../abi/status';
import { intervalMs } from '../record/config';
import { PHASE_INTERVAL, PHASE_OPEN } from '../record/layout';
import { idAt, isDoneAt, isNetworkAt, isToldAt, leave, look, nextDue, postpone } from './live';
import { hasRoomForLiving, recordLiving } from './recorder';

/** At most so many in one tick; the rest waits for the next. */
const REPORTS_MAX: u32 = 1024;
/** The last place of which a tick told: the next tick goes on behind it, so that all get their turn. */
let lastTold: u32 = 0;

function report(place: u32, nowNs: u64): void {
  // A context that is gone without a word is watched no more.
  if (isDoneAt(place) || proxy_set_effective_context(idAt(place)) != OK) {
    leave(place);
    return;
  }
  const phase = isToldAt(place) ? PHASE_INTERVAL : PHASE_OPEN;
  const isTold = recordLiving(isNetworkAt(place), phase);
  postpone(place, nowNs + <u64>intervalMs * 1_000_000, isTold);
}

/** Reports what lives and is due. `root`: whose tick it is. */
export function reportLiving(root: u32, nowNs: u64): void {
  look(nowNs);
  // What was told of once in this tick is due later, so going round meets nothing twice.
  let place = nextDue(lastTold, nowNs);
  for (let reports: u32 = 0; reports < REPORTS_MAX && hasRoomForLiving(); reports++) {
    if (place == 0) place = nextDue(0, nowNs);
    if (place == 0) break;
    resetArena();
    report(place, nowNs);
    lastTold = place;
    place = nextDue(place, nowNs);
  }
  // Deliveries are the root's: what lives would take their answers with it.
  proxy_set_effective_context(root);
}
