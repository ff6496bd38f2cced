/**
 * Counts what arrives at a socket, before the kernel queues or drops it.
 *
 * A joined read (UDP_GRO) that finds the receive queue full adds 1 to the
 * socket's drop count, however many datagrams it holds (measured on 6.18: 47
 * dropped reads of 40 datagrams count 47; udp_queue_rcv_one_skb). Without
 * joining, the same count is exact. A filter on the socket sees every read with
 * its length and segment size: what arrived and was not received was dropped.
 *
 * Loading it takes CAP_BPF or CAP_SYS_ADMIN, or the sysctl
 * kernel.unprivileged_bpf_disabled at 0, and Linux 5.7.
 */
import { createValueMap, loadSocketFilter, MapReader } from "../ffi/bpf.ts";
import { SO_ATTACH_BPF, SOL_SOCKET } from "../ffi/constants.ts";
import type { Libc } from "../ffi/libc.ts";
import { closeDescriptor, setIntOption } from "../ffi/socket.ts";
import { skBuff } from "../ffi/structs.ts";

/** Bytes of the map's value: reads, then datagrams, 64 bits each. */
const VALUE_BYTES = 16;

/** What a socket filter sees before the payload. */
const UDP_HEADER_BYTES = 8;

/** Arrivals at one socket. */
export class ArrivalCount implements Disposable {
  readonly #libc: Libc;
  readonly #map: number;
  readonly #reader: MapReader;

  /** Attaches the count to a socket; throws a SystemCallError where it is not permitted. */
  constructor(libc: Libc, fd: number) {
    this.#libc = libc;
    this.#map = createValueMap(libc, VALUE_BYTES);
    try {
      const filter = loadSocketFilter(libc, countingFilter(this.#map));
      try {
        setIntOption(libc, fd, SOL_SOCKET, SO_ATTACH_BPF, filter);
      } finally {
        // The socket holds it now.
        closeDescriptor(libc, filter);
      }
    } catch (error) {
      closeDescriptor(libc, this.#map);
      throw error;
    }
    this.#reader = new MapReader(libc, this.#map, VALUE_BYTES);
  }

  /** Takes the counts as they are now into `reads` and `datagrams`. */
  refresh(): void {
    this.#reader.read();
  }

  /** Reads that arrived: datagrams, or several that the kernel has joined. */
  get reads(): number {
    return Number(this.#reader.value[0]);
  }

  /** Datagrams that arrived. */
  get datagrams(): number {
    return Number(this.#reader.value[1]);
  }

  [Symbol.dispose](): void {
    closeDescriptor(this.#libc, this.#map);
  }
}

// <linux/bpf_common.h>, <linux/bpf.h>: class | size or source | mode or operation
const MOV64_REG = 0xbf;
const MOV64_IMM = 0xb7;
const ADD64_REG = 0x0f;
const ADD64_IMM = 0x07;
const DIV64_REG = 0x3f;
const LOAD_WORD = 0x61;
const STORE_WORD_IMM = 0x62;
const LOAD_MAP = 0x18;
const ATOMIC_ADD64 = 0xdb;
const CALL = 0x85;
const JUMP_IF_EQUAL_IMM = 0x15;
const MOV32_IMM = 0xb4;
const EXIT = 0x95;
const MAP_LOOKUP_ELEM = 1;
const PSEUDO_MAP_FD = 1;

/** The filter: adds to both counts of `map` and keeps every byte. */
export function countingFilter(map: number): Uint8Array<ArrayBuffer> {
  const program: readonly (readonly [
    code: number,
    to: number,
    from: number,
    offset: number,
    value: number,
  ])[] = [
    [MOV64_REG, 6, 1, 0, 0], //              r6 = datagram
    [STORE_WORD_IMM, 10, 0, -4, 0], //       key = 0, on the stack
    [MOV64_REG, 2, 10, 0, 0],
    [ADD64_IMM, 2, 0, 0, -4], //             r2 = &key
    [LOAD_MAP, 1, PSEUDO_MAP_FD, 0, map], // r1 = map, in two instructions
    [0, 0, 0, 0, 0],
    [CALL, 0, 0, 0, MAP_LOOKUP_ELEM], //     r0 = &counts
    [JUMP_IF_EQUAL_IMM, 0, 0, 9, 0], //      none: keep
    [MOV64_IMM, 2, 0, 0, 1],
    [ATOMIC_ADD64, 0, 2, 0, 0], //           counts.reads += 1
    [LOAD_WORD, 3, 6, skBuff.at.gsoSize, 0],
    [JUMP_IF_EQUAL_IMM, 3, 0, 4, 0], //      not joined: r2 is 1
    [LOAD_WORD, 2, 6, skBuff.at.len, 0],
    [ADD64_IMM, 2, 0, 0, -UDP_HEADER_BYTES - 1],
    [ADD64_REG, 2, 3, 0, 0],
    [DIV64_REG, 2, 3, 0, 0], //              r2 = ceil(payload / gso_size)
    [ATOMIC_ADD64, 0, 2, 8, 0], //           counts.datagrams += r2
    [MOV32_IMM, 0, 0, 0, -1], //             keep
    [EXIT, 0, 0, 0, 0],
  ];
  const bytes = new Uint8Array(new ArrayBuffer(program.length * 8));
  const view = new DataView(bytes.buffer);
  for (const [i, [code, to, from, offset, value]] of program.entries()) {
    view.setUint8(i * 8, code);
    view.setUint8(i * 8 + 1, to | from << 4);
    view.setInt16(i * 8 + 2, offset, true);
    view.setInt32(i * 8 + 4, value, true);
  }
  return bytes;
}
