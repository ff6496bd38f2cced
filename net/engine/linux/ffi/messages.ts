/**
 * Arrays of `struct mmsghdr` with their iovecs, addresses and control
 * messages, laid out once and used for every call.
 */
import {
  IP_RECVERR,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_RECVERR,
  MSG_DONTWAIT,
  MSG_TRUNC,
  SO_EE_ORIGIN_ICMP,
  SO_EE_ORIGIN_ICMP6,
  SO_RXQ_OVFL,
  SOL_SOCKET,
  SOL_UDP,
  UDP_GRO,
  UDP_SEGMENT,
} from "./constants.ts";
import { addressOf, type Libc, setAddress } from "./libc.ts";
import {
  decodeSockaddr,
  SOCKADDR_BYTES,
  type SocketAddress,
} from "./sockaddr.ts";
import { cmsghdr, iovec, mmsghdr, msghdr, sockExtendedErr } from "./structs.ts";

// Indexes of 32-bit words.
const HEADER = mmsghdr.size / 4;
const NAME = msghdr.at.msgName / 4;
const NAME_LENGTH = msghdr.at.msgNamelen / 4;
const IOVECS = msghdr.at.msgIov / 4;
const IOVEC_COUNT = msghdr.at.msgIovlen / 4;
const CONTROL = msghdr.at.msgControl / 4;
const CONTROL_LENGTH = msghdr.at.msgControllen / 4;
const FLAGS = msghdr.at.msgFlags / 4;
const LENGTH = mmsghdr.at.msgLen / 4;
const IOVEC = iovec.size / 4;
const IOVEC_LENGTH = iovec.at.iovLen / 4;
const CMSG_LENGTH = cmsghdr.at.cmsgLen / 4;
const CMSG_LEVEL = cmsghdr.at.cmsgLevel / 4;
const CMSG_TYPE = cmsghdr.at.cmsgType / 4;
const CMSG_DATA = cmsghdr.size / 4;
const ERROR_ERRNO = sockExtendedErr.at.eeErrno / 4;
const ERROR_ORIGIN = sockExtendedErr.at.eeOrigin / 4;

/** A name's place: a `sockaddr_in6` rounded up to eight bytes. */
const NAME_SPACE = 32;

/** CMSG_SPACE(sizeof(int)), for one control message with up to eight bytes of data. */
const CMSG_SPACE = cmsghdr.size + 8;

/** Two control messages at most: UDP_GRO and SO_RXQ_OVFL; or the head of one error. */
const RECEIVE_CONTROL = 2 * CMSG_SPACE;

/** CMSG_LEN(sizeof(uint16_t)), what UDP_SEGMENT takes. */
const SEGMENT_CMSG_LENGTH = cmsghdr.size + 2;

/** Headers that receive into equal slots of one memory. */
export class ReceiveVector {
  /** How many messages one call takes. */
  readonly slots: number;
  readonly #memory: Uint8Array<ArrayBuffer>;
  readonly #headers: Uint32Array<ArrayBuffer>;
  readonly #iovecs: Uint32Array<ArrayBuffer>;
  readonly #names: Uint8Array<ArrayBuffer>;
  readonly #controls: Uint32Array<ArrayBuffer>;
  /** Headers whose lengths the last call has changed. */
  #used: number;

  /** Slot `i` takes the bytes of `memory` from `i * slotBytes`. */
  constructor(
    memory: Uint8Array<ArrayBuffer>,
    slots: number,
    slotBytes: number,
  ) {
    this.slots = slots;
    this.#memory = memory;
    this.#headers = new Uint32Array(new ArrayBuffer(slots * mmsghdr.size));
    this.#iovecs = new Uint32Array(new ArrayBuffer(slots * iovec.size));
    this.#names = new Uint8Array(new ArrayBuffer(slots * NAME_SPACE));
    this.#controls = new Uint32Array(new ArrayBuffer(slots * RECEIVE_CONTROL));
    this.#used = slots;
    const bytesAt = addressOf(memory);
    const iovecsAt = addressOf(new Uint8Array(this.#iovecs.buffer));
    const namesAt = addressOf(this.#names);
    const controlsAt = addressOf(new Uint8Array(this.#controls.buffer));
    for (let i = 0; i < slots; i++) {
      setAddress(this.#iovecs, i * IOVEC, bytesAt + i * slotBytes);
      this.#iovecs[i * IOVEC + IOVEC_LENGTH] = slotBytes;
      const header = i * HEADER;
      setAddress(this.#headers, header + NAME, namesAt + i * NAME_SPACE);
      setAddress(this.#headers, header + IOVECS, iovecsAt + i * iovec.size);
      this.#headers[header + IOVEC_COUNT] = 1;
      setAddress(
        this.#headers,
        header + CONTROL,
        controlsAt + i * RECEIVE_CONTROL,
      );
    }
  }

  /**
   * recvmmsg(2) of at most `most` messages without waiting: those taken, or the
   * negated errno. With MSG_ERRQUEUE they are those of the error queue.
   */
  receive(libc: Libc, fd: number, most: number, flags = 0): number {
    for (let i = 0; i < this.#used; i++) {
      const header = i * HEADER;
      this.#headers[header + NAME_LENGTH] = SOCKADDR_BYTES;
      this.#headers[header + CONTROL_LENGTH] = RECEIVE_CONTROL;
    }
    const taken = libc.symbols.recvmmsg(
      fd,
      this.#headers,
      most < this.slots ? most : this.slots,
      MSG_DONTWAIT | flags,
      null,
    );
    this.#used = taken < 0 ? 0 : taken;
    return taken < 0 ? -libc.errno() : taken;
  }

  /** Bytes of a received message. */
  length(index: number): number {
    return this.#headers[index * HEADER + LENGTH]!;
  }

  /** Whether a message was cut to its slot. */
  truncated(index: number): boolean {
    return (this.#headers[index * HEADER + FLAGS]! & MSG_TRUNC) !== 0;
  }

  /** The segment size of a joined read, or 0. */
  segmentSize(index: number): number {
    const data = this.#controlData(index, SOL_UDP, UDP_GRO);
    return data < 0 ? 0 : this.#controls[data]!;
  }

  /** The socket's drop count when a message was queued, or -1 where it does not say. */
  drops(index: number): number {
    const data = this.#controlData(index, SOL_SOCKET, SO_RXQ_OVFL);
    return data < 0 ? -1 : this.#controls[data]!;
  }

  /** The errno with which ICMP answered a datagram sent before, or 0: it says something else. */
  icmpErrno(index: number): number {
    const v4 = this.#controlData(index, IPPROTO_IP, IP_RECVERR);
    const data = v4 >= 0
      ? v4
      : this.#controlData(index, IPPROTO_IPV6, IPV6_RECVERR);
    if (data < 0) return 0;
    const origin = this.#controls[data + ERROR_ORIGIN]! & 0xff;
    return origin === SO_EE_ORIGIN_ICMP || origin === SO_EE_ORIGIN_ICMP6
      ? this.#controls[data + ERROR_ERRNO]!
      : 0;
  }

  /** Who sent a message. */
  source(index: number): SocketAddress {
    return decodeSockaddr(this.#names, index * NAME_SPACE);
  }

  /** The port that a message was sent from: sin_port and sin6_port are at the same place. */
  sourcePort(index: number): number {
    const at = index * NAME_SPACE + 2;
    return this.#names[at]! << 8 | this.#names[at + 1]!;
  }

  /** The memory that is received into. */
  get memory(): Uint8Array<ArrayBuffer> {
    return this.#memory;
  }

  /** Where the data of a control message stands, or -1. */
  #controlData(index: number, level: number, type: number): number {
    const controls = this.#controls;
    let at = index * RECEIVE_CONTROL / 4;
    const end = at + this.#headers[index * HEADER + CONTROL_LENGTH]! / 4;
    while (at + CMSG_DATA < end) {
      if (
        controls[at + CMSG_LEVEL] === level && controls[at + CMSG_TYPE] === type
      ) {
        return at + CMSG_DATA;
      }
      // CMSG_NXTHDR: each starts at a multiple of eight bytes.
      at += 2 * Math.ceil(controls[at + CMSG_LENGTH]! / 8);
    }
    return -1;
  }
}

/** Headers that send pieces of one memory, several pieces a message. */
export class SendVector {
  /** Most messages and most pieces of one call. */
  readonly capacity: number;
  readonly #headers: Uint32Array<ArrayBuffer>;
  readonly #iovecs: Uint32Array<ArrayBuffer>;
  readonly #controls: Uint8Array<ArrayBuffer>;
  readonly #segmentSizes: Uint16Array<ArrayBuffer>;
  readonly #iovecsAt: number;
  #memory: Uint8Array<ArrayBuffer> | undefined;
  #memoryAt = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#headers = new Uint32Array(new ArrayBuffer(capacity * mmsghdr.size));
    this.#iovecs = new Uint32Array(new ArrayBuffer(capacity * iovec.size));
    this.#controls = new Uint8Array(new ArrayBuffer(capacity * CMSG_SPACE));
    this.#segmentSizes = new Uint16Array(this.#controls.buffer);
    this.#iovecsAt = addressOf(new Uint8Array(this.#iovecs.buffer));
    const words = new Uint32Array(this.#controls.buffer);
    const controlsAt = addressOf(this.#controls);
    for (let i = 0; i < capacity; i++) {
      setAddress(
        this.#headers,
        i * HEADER + CONTROL,
        controlsAt + i * CMSG_SPACE,
      );
      const control = i * CMSG_SPACE / 4;
      words[control + CMSG_LENGTH] = SEGMENT_CMSG_LENGTH;
      words[control + CMSG_LEVEL] = SOL_UDP;
      words[control + CMSG_TYPE] = UDP_SEGMENT;
    }
  }

  /** Names the memory that the offsets of the next pieces count from, and holds it. */
  attach(memory: Uint8Array<ArrayBuffer>): void {
    if (this.#memory === memory) return;
    this.#memory = memory;
    this.#memoryAt = addressOf(memory);
  }

  /** Sets a piece: bytes of the attached memory. */
  setPiece(index: number, offset: number, length: number): void {
    setAddress(this.#iovecs, index * IOVEC, this.#memoryAt + offset);
    this.#iovecs[index * IOVEC + IOVEC_LENGTH] = length;
  }

  /**
   * Sets a message: consecutive pieces, which the kernel cuts into datagrams
   * of `segmentSize` bytes (udp(7)), or 0 for one datagram.
   */
  setMessage(
    index: number,
    firstPiece: number,
    pieces: number,
    segmentSize: number,
  ): void {
    const header = index * HEADER;
    setAddress(
      this.#headers,
      header + IOVECS,
      this.#iovecsAt + firstPiece * iovec.size,
    );
    this.#headers[header + IOVEC_COUNT] = pieces;
    this.#headers[header + CONTROL_LENGTH] = segmentSize === 0 ? 0 : CMSG_SPACE;
    this.#segmentSizes[(index * CMSG_SPACE + cmsghdr.size) / 2] = segmentSize;
  }

  /** sendmmsg(2) without waiting: the messages sent, or the negated errno of the first. */
  send(libc: Libc, fd: number, first: number, count: number): number {
    const headers = first === 0
      ? this.#headers
      : this.#headers.subarray(first * HEADER);
    const sent = libc.symbols.sendmmsg(fd, headers, count, MSG_DONTWAIT);
    return sent < 0 ? -libc.errno() : sent;
  }
}
