/** libc with faults: a function of its table does what a test says. */
import { type Libc, openLibc } from "../../net/engine/linux/ffi/libc.ts";
import { BPF_MAP_LOOKUP_ELEM } from "../../net/engine/linux/ffi/constants.ts";
import type { LibcSymbols } from "../../net/engine/linux/ffi/symbols.ts";

type Name = keyof LibcSymbols;

// deno-lint-ignore no-explicit-any
type Call = (...args: any[]) => any;

/** Functions whose result is a new descriptor; bpf(2) is another with most commands. */
const OPENS = new Set(["socket", "eventfd", "accept4", "epoll_create1"]);

/** The real libc, but for what is put before its functions. */
export class FaultyLibc implements Libc {
  readonly name = "libc with faults";
  readonly symbols: LibcSymbols;
  readonly #real: Libc = openLibc();
  readonly #faults = new Map<Name, Call>();
  /** How often each function was called. */
  readonly calls = new Map<string, number>();
  /** Descriptors that were opened. */
  opened = 0;
  #errno: number | undefined;

  constructor() {
    const symbols: Record<string, Call> = {};
    for (const [name, real] of Object.entries(this.#real.symbols)) {
      symbols[name] = (...args) => {
        this.#errno = undefined;
        this.calls.set(name, (this.calls.get(name) ?? 0) + 1);
        const fault = this.#faults.get(name as Name);
        const result = fault ? fault(real, ...args) : (real as Call)(...args);
        if (OPENS.has(name) && Number(result) >= 0) this.opened++;
        if (name === "pipe2" && result === 0) this.opened += 2;
        if (name === "bpfSyscall" && args[1] !== BPF_MAP_LOOKUP_ELEM) {
          if (Number(result) >= 0) this.opened++;
        }
        return result;
      };
    }
    this.symbols = symbols as unknown as LibcSymbols;
  }

  errno(): number {
    return this.#errno ?? this.#real.errno();
  }

  /** Puts a function before a real one, which it gets first. */
  put<N extends Name>(
    name: N,
    fault: (
      real: LibcSymbols[N],
      ...args: Parameters<LibcSymbols[N]>
    ) => ReturnType<LibcSymbols[N]>,
  ): this {
    this.#faults.set(name, fault as Call);
    return this;
  }

  /** What a function gives that has failed with an errno. */
  fail(errno: number): number {
    this.#errno = errno;
    return -1;
  }

  /** The next calls of a function fail with these, in turn; 0 is a call that works. */
  failNext<N extends Name>(name: N, errnos: readonly number[]): this {
    const left = [...errnos];
    return this.put(
      name,
      ((real: Call, ...args: unknown[]) => {
        const errno = left.shift() ?? 0;
        return errno === 0 ? real(...args) : this.fail(errno);
      }) as never,
    );
  }

  /** These socket options, by level and name, fail with an errno. */
  failOptions(
    options: readonly (readonly [level: number, option: number])[],
    errno: number,
  ): this {
    const hit = (level: number, option: number) =>
      options.some(([l, o]) => l === level && o === option);
    return this
      .put(
        "setsockopt",
        (real, fd, level, option, value, length) =>
          hit(level, option)
            ? this.fail(errno)
            : real(fd, level, option, value, length),
      )
      .put(
        "getsockopt",
        (real, fd, level, option, value, length) =>
          hit(level, option)
            ? this.fail(errno)
            : real(fd, level, option, value, length),
      );
  }

  [Symbol.dispose](): void {
    this.#real[Symbol.dispose]();
  }
}
