/** bpf(2): array maps and socket filters. Each throws a SystemCallError. */
import {
  BPF_MAP_CREATE,
  BPF_MAP_LOOKUP_ELEM,
  BPF_MAP_TYPE_ARRAY,
  BPF_PROG_LOAD,
  BPF_PROG_TYPE_SOCKET_FILTER,
  BPF_SYSCALL,
  ENOSYS,
} from "./constants.ts";
import { SystemCallError } from "./errno.ts";
import { addressOf, type Libc, setAddress } from "./libc.ts";
import { bpfAttr, bpfInsn } from "./structs.ts";

const { at, size } = bpfAttr;

/** A map of one value of `bytes` bytes; gives its descriptor. */
export function createValueMap(libc: Libc, bytes: number): number {
  const attr = new Uint32Array(new ArrayBuffer(size));
  attr[at.mapType / 4] = BPF_MAP_TYPE_ARRAY;
  attr[at.keySize / 4] = 4;
  attr[at.valueSize / 4] = bytes;
  attr[at.maxEntries / 4] = 1;
  return bpf(libc, BPF_MAP_CREATE, attr);
}

/** Loads a socket filter; gives its descriptor. */
export function loadSocketFilter(
  libc: Libc,
  program: Uint8Array<ArrayBuffer>,
): number {
  // One buffer for all that the kernel reads: the attributes, which are passed
  // to the call and so outlive it, hold the program and the license too.
  const license = new TextEncoder().encode("MIT\0");
  const programAt = size + license.length + (-license.length & 7);
  const buffer = new ArrayBuffer(programAt + program.length);
  const attr = new Uint32Array(buffer);
  new Uint8Array(buffer).set(license, size);
  new Uint8Array(buffer).set(program, programAt);
  const bufferAt = addressOf(new Uint8Array(buffer));
  attr[at.progType / 4] = BPF_PROG_TYPE_SOCKET_FILTER;
  attr[at.insnCnt / 4] = program.length / bpfInsn.size;
  setAddress(attr, at.insns / 4, bufferAt + programAt);
  setAddress(attr, at.license / 4, bufferAt + size);
  return bpf(libc, BPF_PROG_LOAD, attr);
}

/** Reads the value of a map, again and again into the same memory. */
export class MapReader {
  /** What the last read has found. */
  readonly value: BigUint64Array<ArrayBuffer>;
  readonly #libc: Libc;
  readonly #attr: Uint32Array<ArrayBuffer> = new Uint32Array(
    new ArrayBuffer(size),
  );
  readonly #key: Uint8Array<ArrayBuffer> = new Uint8Array(new ArrayBuffer(8));

  constructor(libc: Libc, map: number, bytes: number) {
    this.#libc = libc;
    this.value = new BigUint64Array(new ArrayBuffer(bytes));
    this.#attr[at.mapFd / 4] = map;
    setAddress(this.#attr, at.key / 4, addressOf(this.#key));
    setAddress(
      this.#attr,
      at.value / 4,
      addressOf(new Uint8Array(this.value.buffer)),
    );
  }

  read(): void {
    bpf(this.#libc, BPF_MAP_LOOKUP_ELEM, this.#attr);
  }
}

function bpf(
  libc: Libc,
  command: number,
  attr: Uint32Array<ArrayBuffer>,
): number {
  const number = BPF_SYSCALL[Deno.build.arch];
  if (number === undefined) throw new SystemCallError("bpf", ENOSYS);
  const result = Number(
    libc.symbols.bpfSyscall(BigInt(number), command, attr, size),
  );
  if (result < 0) throw new SystemCallError("bpf", libc.errno());
  return result;
}
