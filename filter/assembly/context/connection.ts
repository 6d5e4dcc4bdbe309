import { readFlag, readProperty, readWord, valueAt, valueBytes, word } from '../abi/read';
import { OK } from '../abi/status';
import { batchEpoch } from '../record/batch';
import { isText, readHex } from '../record/bytes';
import { hasIstioPeers } from '../record/config';
import {
  CERTIFICATE_SHA256,
  CONNECTION_ID,
  CONNECTION_TEXTS,
  cutCount,
  DESTINATION_ADDRESS,
  DIRECTION,
  FILTER_CHAIN,
  FILTER_STATE_PRINCIPAL,
  FORWARDED_FOR,
  HAS_CERTIFICATE,
  LOCAL_PRINCIPAL,
  MTLS,
  number,
  PEER_CLUSTER,
  PEER_NAMESPACE,
  PEER_PRINCIPAL,
  PEER_SUBJECT,
  PEER_WORKLOAD,
  PROTOCOL,
  REQUESTED_SERVER_NAME,
  SOURCE_ADDRESS,
  setBits,
  setCutText,
  setNumber,
  setText,
  TLS_VERSION,
  TRANSPORT_FAILURE,
  textAt,
  textBytes,
} from '../record/facts';
import { BIT_OTHER_CUT, NUMBER_MAX, OTHER } from '../record/layout';
import { takePeer } from '../record/metadata';
import { connectionEntry } from '../record/row';
import { path, text } from '../record/text';

const PATH_ID = path('connection.id');
const PATH_SOURCE = path('source.address');
const PATH_DESTINATION = path('destination.address');
const PATH_TLS_VERSION = path('connection.tls_version');
const PATH_MTLS = path('connection.mtls');
const PATH_PEER_PRINCIPAL = path('connection.uri_san_peer_certificate');
const PATH_LOCAL_PRINCIPAL = path('connection.uri_san_local_certificate');
const PATH_PEER_SUBJECT = path('connection.subject_peer_certificate');
const PATH_SNI = path('connection.requested_server_name');
const PATH_FAILURE = path('connection.transport_failure_reason');
const PATH_DIGEST = path('connection.sha256_peer_certificate_digest');
const PATH_FILTER_CHAIN = path('xds.filter_chain_name');
const PATH_DIRECTION = path('xds.listener_direction');
const PATH_PROTOCOL = path('request.protocol');
const PATH_PRINCIPAL_STATE = path('filter_state', 'io.istio.peer_principal');
const PATH_PEER = path('filter_state.downstream_peer');
const HTTP10 = text('HTTP/1.0');
const HTTP11 = text('HTTP/1.1');
const HTTP2 = text('HTTP/2');
const HTTP3 = text('HTTP/3');
const TLS10 = text('TLSv1');
const TLS11 = text('TLSv1.1');
const TLS12 = text('TLSv1.2');
const TLS13 = text('TLSv1.3');

/** Direct-mapped: two connections that share a slot cost a reading more, never a wrong fact. */
const SLOTS: usize = 256;
const SLOT_BYTES: usize = 3000;
const CACHE: usize = memory.data(768000, 16); // SLOTS x SLOT_BYTES
const _SLOT_KEY: usize = 0; // u64
const SLOT_EPOCH: usize = 8; // u64: the batch in which SLOT_ENTRY is the number of the entry
const SLOT_ENTRY: usize = 16; // u32
/** u8 each: direction, mtls, TLS version, has certificate, protocol, a text was cut, the source is of one exchange. */
const SLOT_NUMBERS: usize = 20;
const SLOT_CERTIFICATE: usize = 32; // 32 bytes
const SLOT_LENGTHS: usize = 64; // CONNECTION_TEXTS x u16
const SLOT_TEXTS: usize = 88;
/** Source, destination, SNI, filter chain, subject up to 256 bytes, two principals and the failure up to 512: 2,816; and 96 to spare. */
const SLOT_TEXT_BYTES_MAX: usize = 2912;

function readText(fact: u32, from: usize): void {
  if (readProperty(from) == OK) setText(fact, valueAt, valueBytes);
}

function protocolOf(): u64 {
  if (readProperty(PATH_PROTOCOL) != OK) return 0;
  if (isText(valueAt, valueBytes, HTTP11)) return 2;
  if (isText(valueAt, valueBytes, HTTP2)) return 3;
  if (isText(valueAt, valueBytes, HTTP3)) return 4;
  return isText(valueAt, valueBytes, HTTP10) ? 1 : OTHER;
}

function tlsVersionOf(): u64 {
  if (readProperty(PATH_TLS_VERSION) != OK) return 0;
  if (isText(valueAt, valueBytes, TLS13)) return 4;
  if (isText(valueAt, valueBytes, TLS12)) return 3;
  if (isText(valueAt, valueBytes, TLS11)) return 2;
  return isText(valueAt, valueBytes, TLS10) ? 1 : OTHER;
}

/** Reads what of the connection can be read at any time. */
function readPassing(): void {
  readText(SOURCE_ADDRESS, PATH_SOURCE);
  readText(DESTINATION_ADDRESS, PATH_DESTINATION);
  readText(FILTER_CHAIN, PATH_FILTER_CHAIN);
  if (readWord(PATH_DIRECTION) == OK && word() <= 2) setNumber(DIRECTION, word());
  setNumber(PROTOCOL, protocolOf());
  readText(REQUESTED_SERVER_NAME, PATH_SNI);
}

/**
 * Reads everything about the connection at hand. While it lives nothing of TLS is read: asked before the handshake, Envoy
 * remembers a wrong version, and writes it into its own access logs.
 */
function readConnection(isLive: bool): void {
  readPassing();
  if (isLive) return;
  readText(FILTER_STATE_PRINCIPAL, PATH_PRINCIPAL_STATE);
  if (hasIstioPeers && readProperty(PATH_PEER) == OK)
    takePeer(valueAt, valueBytes, PEER_WORKLOAD, PEER_NAMESPACE, PEER_CLUSTER);
  const mtls = readFlag(PATH_MTLS);
  if (mtls <= 1) setNumber(MTLS, <u64>mtls + 1);
  readText(TRANSPORT_FAILURE, PATH_FAILURE);
  const version = tlsVersionOf();
  setNumber(TLS_VERSION, version);
  if (version == 0 && textBytes(TRANSPORT_FAILURE) == 0) return;
  readText(PEER_PRINCIPAL, PATH_PEER_PRINCIPAL);
  readText(LOCAL_PRINCIPAL, PATH_LOCAL_PRINCIPAL);
  readText(PEER_SUBJECT, PATH_PEER_SUBJECT);
  if (readProperty(PATH_DIGEST) == OK && valueBytes == 64 && readHex(valueAt, 32, CERTIFICATE_SHA256))
    setNumber(HAS_CERTIFICATE, 1);
}

function keep(slot: usize, key: u64, isCut: bool): void {
  store<u64>(slot, key);
  store<u64>(slot, 0, SLOT_EPOCH);
  store<u8>(slot, <u8>number(DIRECTION), SLOT_NUMBERS);
  store<u8>(slot, <u8>number(MTLS), SLOT_NUMBERS + 1);
  store<u8>(slot, <u8>number(TLS_VERSION), SLOT_NUMBERS + 2);
  store<u8>(slot, <u8>number(HAS_CERTIFICATE), SLOT_NUMBERS + 3);
  store<u8>(slot, <u8>number(PROTOCOL), SLOT_NUMBERS + 4);
  store<u8>(slot, isCut ? 1 : 0, SLOT_NUMBERS + 5);
  store<u8>(slot, isOwnSource ? 1 : 0, SLOT_NUMBERS + 6);
  memory.copy(slot + SLOT_CERTIFICATE, CERTIFICATE_SHA256, 32);
  let used: usize = 0;
  for (let i: u32 = 0; i < CONNECTION_TEXTS; i++) {
    const bytes = textBytes(SOURCE_ADDRESS + i);
    // Limits make it fit; a slot that did not fit would be read anew each time.
    if (used + bytes > SLOT_TEXT_BYTES_MAX) {
      store<u64>(slot, 0);
      return;
    }
    store<u16>(slot + SLOT_LENGTHS + 2 * <usize>i, <u16>bytes);
    memory.copy(slot + SLOT_TEXTS + used, textAt(SOURCE_ADDRESS + i), bytes);
    used += bytes;
  }
}

function recall(slot: usize): void {
  setNumber(DIRECTION, <u64>load<u8>(slot, SLOT_NUMBERS));
  setNumber(MTLS, <u64>load<u8>(slot, SLOT_NUMBERS + 1));
  setNumber(TLS_VERSION, <u64>load<u8>(slot, SLOT_NUMBERS + 2));
  setNumber(HAS_CERTIFICATE, <u64>load<u8>(slot, SLOT_NUMBERS + 3));
  memory.copy(CERTIFICATE_SHA256, slot + SLOT_CERTIFICATE, 32);
  let used: usize = 0;
  for (let i: u32 = 0; i < CONNECTION_TEXTS; i++) {
    const bytes = <usize>load<u16>(slot + SLOT_LENGTHS + 2 * <usize>i);
    if (bytes > 0) setCutText(SOURCE_ADDRESS + i, slot + SLOT_TEXTS + used, bytes);
    used += bytes;
  }
}

let slotInUse: usize = 0;
let isOwnSource: bool = false;

/** Tells the connection at hand from the others: Envoy's id and 1, since the first connection of a process has the id 0; 0 without one. */
export let connectionKey: u64 = 0;

/**
 * Learns the connection of the exchange at hand, or the connection at hand. The protocol is a fact at once; the rest waits for
 * `connectionReference`. `isLive`: it has not ended.
 */
export function takeConnection(isLive: bool): void {
  slotInUse = 0;
  isOwnSource = false;
  connectionKey = 0;
  if (readWord(PATH_ID) != OK || word() > NUMBER_MAX) {
    readConnection(isLive);
    return;
  }
  setNumber(CONNECTION_ID, word());
  const key = word() + 1;
  connectionKey = key;
  const slot = CACHE + SLOT_BYTES * (<usize>key & (SLOTS - 1));
  // Envoy may take the address from x-forwarded-for, so it belongs to the exchange then; of a live one nobody knows.
  isOwnSource = isLive || textBytes(FORWARDED_FOR) > 0;
  // A source that was read for such an exchange must not pass for the connection's.
  const isForeign = !isOwnSource && load<u8>(slot, SLOT_NUMBERS + 6) != 0;
  if (load<u64>(slot) == key && !isForeign) {
    setNumber(PROTOCOL, <u64>load<u8>(slot, SLOT_NUMBERS + 4));
    if (load<u8>(slot, SLOT_NUMBERS + 5) != 0) setBits(BIT_OTHER_CUT);
    slotInUse = slot;
    return;
  }
  const cutsBefore = cutCount();
  readConnection(isLive);
  // The protocol is not known before the first request was understood, and what is read of a live one is not all.
  if (isLive || number(PROTOCOL) == 0) return;
  keep(slot, key, cutCount() > cutsBefore);
  if (load<u64>(slot) == key) slotInUse = slot;
}

/** Number of the connection's entry in the batch that is filling; 0 when there is no room. */
export function connectionReference(): u32 {
  if (slotInUse == 0) return connectionEntry();
  if (!isOwnSource && load<u64>(slotInUse, SLOT_EPOCH) == batchEpoch()) return load<u32>(slotInUse, SLOT_ENTRY);
  recall(slotInUse);
  if (isOwnSource) {
    setCutText(SOURCE_ADDRESS, 0, 0);
    readText(SOURCE_ADDRESS, PATH_SOURCE);
  }
  const entry = connectionEntry();
  if (!isOwnSource && entry != 0) {
    store<u64>(slotInUse, batchEpoch(), SLOT_EPOCH);
    store<u32>(slotInUse, entry, SLOT_ENTRY);
  }
  return entry;
}
